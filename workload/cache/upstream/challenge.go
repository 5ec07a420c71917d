package upstream

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"golang.org/x/net/publicsuffix"
)

// challenge is what a registry asks for, https://distribution.github.io/distribution/spec/auth/token/.
type challenge struct {
	origin  origin   // who asked
	url     *url.URL // in answer to what
	realm   string   // of a Bearer challenge; "": basic authentication
	service string
	scope   string
	trusted bool // the realm may see the credentials
}

// parseChallenge finds the challenge of an answer of asker that can be acted on, Bearer before Basic; nil if there is
// none.
func parseChallenge(asker *url.URL, header http.Header) *challenge {
	for _, c := range auth.ParseAuthHeader(header) {
		switch c.Scheme {
		case auth.BasicAuth:
			return &challenge{origin: originOf(asker), url: asker}
		case auth.BearerAuth:
			realm, ok := parseRealm(c.Parameters["realm"])
			if !ok {
				continue
			}
			return &challenge{
				origin:  originOf(asker),
				url:     asker,
				realm:   realm.String(),
				service: c.Parameters["service"],
				scope:   c.Parameters["scope"],
				trusted: realmAccepted(asker, realm),
			}
		}
	}
	return nil
}

func parseRealm(raw string) (realm *url.URL, ok bool) {
	realm, err := url.Parse(raw)
	if err != nil || (realm.Scheme != "http" && realm.Scheme != "https") || realm.Hostname() == "" {
		return nil, false
	}
	realm.User, realm.Fragment, realm.RawFragment = nil, "", ""
	return realm, true
}

// forOther is what a challenge says about other repositories.
func (c *challenge) forOther() *challenge {
	other := *c
	other.scope, other.url = "", nil
	return &other
}

// realmAccepted is true if a token server may see the credentials for registry. The rule is distribution's (same
// host, or same registrable domain, never across addresses and localhost), and never down to http. Two hosts
// without a registrable domain have none in common.
func realmAccepted(registry, realm *url.URL) bool {
	if registry.Scheme == "https" && realm.Scheme != "https" {
		return false
	}
	from, to := originOf(registry), originOf(realm)
	if from.host == to.host {
		return true
	}
	fromName, toName := hostname(registry), hostname(realm)
	if isLiteralOrLocal(fromName) || isLiteralOrLocal(toName) {
		return false
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(fromName)
	if err != nil {
		return false
	}
	other, err := publicsuffix.EffectiveTLDPlusOne(toName)
	return err == nil && domain == other
}

func isLiteralOrLocal(name string) bool {
	return name == "localhost" || net.ParseIP(strings.SplitN(name, "%", 2)[0]) != nil
}

// origin is a scheme, and a host with its port, in comparable form.
type origin struct{ scheme, host string }

func originOf(u *url.URL) origin {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return origin{scheme: u.Scheme, host: net.JoinHostPort(hostname(u), port)}
}

func hostname(u *url.URL) string {
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// scopeOf is what a token must allow for a request of path, "" for none. Repositories may hold slashes, and even
// components like "blobs"; what follows the last one is a digest or a tag, or the end.
func scopeOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return ""
	}
	end := -1
	for _, part := range []string{"/blobs/", "/manifests/", "/referrers/"} {
		end = max(end, strings.LastIndex(rest, part))
	}
	if repository, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		end = len(repository)
	}
	if end <= 0 {
		return ""
	}
	return "repository:" + rest[:end] + ":pull"
}
