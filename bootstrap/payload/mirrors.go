package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Mirror is what serves the content of an upstream beside the upstream itself. Nobody asks it whether it answers.
type Mirror struct {
	// Upstream is the registry that image references name, host[:port]; it may have a Cache too.
	Upstream string
	// Hosts are asked in this order, after the Cache.
	Hosts []MirrorHost
}

// MirrorHost is one mirror.
type MirrorHost struct {
	// URL is its base URL, http(s)://host[:port][/path].
	URL string
	// Capabilities are "pull", for content by digest, and with it "resolve", for what a tag means.
	Capabilities []string
	// CA is the PEM of the certificates that nodes trust for an https URL, and for nothing else, beside those that they trust anyway.
	CA []byte
	// OverridePath tells that the path of URL is the root of the API, so that /v2 is not put behind it.
	OverridePath bool
}

const (
	capabilityPull    = "pull"
	capabilityResolve = "resolve"
)

// mirrorHost and mirrorPath are what stands in a literal string of TOML as it is.
var (
	mirrorHost = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)
	mirrorPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)
)

var (
	errMirrorURL = errors.New("http:// or https://, a host, an optional port and an optional path are accepted, without user, query and trailing slash")
	errMirrorCap = errors.New("pull is accepted, and resolve beside it")
)

// without returns the hosts but one of a URL.
func without(list []MirrorHost, url string) []MirrorHost {
	return slices.DeleteFunc(slices.Clone(list), func(m MirrorHost) bool { return m.URL == url })
}

// checkMirrors returns what is wrong with the hosts of an upstream.
func checkMirrors(list []MirrorHost) error {
	if len(list) == 0 {
		return errors.New("no hosts, at least one is accepted")
	}
	for i, m := range list {
		if err := checkMirrorURL(m.URL); err != nil {
			return fmt.Errorf("host %q: %w", m.URL, err)
		}
		if slices.ContainsFunc(list[:i], func(other MirrorHost) bool { return other.URL == m.URL }) {
			return fmt.Errorf("host %q: occurs twice, once is accepted", m.URL)
		}
		other := func(c string) bool { return c != capabilityPull && c != capabilityResolve }
		if !slices.Contains(m.Capabilities, capabilityPull) || slices.ContainsFunc(m.Capabilities, other) {
			return fmt.Errorf("capabilities %q of host %q: %w", m.Capabilities, m.URL, errMirrorCap)
		}
	}
	return nil
}

func checkMirrorURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Scheme+"://"+u.Host+u.Path != text ||
		!mirrorHost.MatchString(u.Host) || !mirrorPath.MatchString(u.Path) || (u.Path != "" && path.Clean(u.Path) != u.Path) {
		return errMirrorURL
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && strings.HasPrefix(u.Host, "[") {
		return errMirrorURL
	}
	return nil
}

// mirrorHosts are the tables of mirrors, and mirrorCAs the files that they name.
func mirrorHosts(list []MirrorHost) []host {
	hosts := make([]host, 0, len(list))
	for _, m := range list {
		h := host{url: m.URL, Capabilities: m.Capabilities, DialTimeout: mirrorDialTimeout, OverridePath: m.OverridePath}
		if len(m.CA) > 0 {
			h.CA = mirrorCA(m.URL)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func mirrorCAs(dir string, list []MirrorHost) ([]File, error) {
	var files []File
	for _, m := range list {
		more, err := caFile(dir+"/"+mirrorCA(m.URL), m.URL, m.CA)
		if err != nil {
			return nil, fmt.Errorf("ca of host %q: %w", m.URL, err)
		}
		files = append(files, more...)
	}
	return files, nil
}

// mirrorCA stays the same when the certificates of a mirror change: what hosts.toml names is never missing then.
func mirrorCA(url string) string {
	sum := sha256.Sum256([]byte(url))
	return "mirror-" + hex.EncodeToString(sum[:])[:16] + ".pem"
}
