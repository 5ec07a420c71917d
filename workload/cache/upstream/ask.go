package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// notSent are headers that are between a client and this cache.
var notSent = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "Accept-Encoding", "Connection", "Keep-Alive", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Proxy-Connection", "Host", "Content-Length",
}

// question is one request of a caller.
type question struct {
	method string
	url    *url.URL
	header http.Header
	scope  string
}

func (c *Client) newQuestion(method, path string, header http.Header) (question, error) {
	target, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/v2/") {
		return question{}, &Error{Kind: Other, Err: errors.New("the path is not that of a registry; accepted is /v2/ and what follows")}
	}
	target.Scheme, target.Host = c.options.URL.Scheme, c.options.URL.Host
	sent := http.Header{}
	if header != nil {
		sent = header.Clone()
	}
	for _, name := range notSent {
		sent.Del(name)
	}
	sent.Set("User-Agent", userAgent)
	return question{method: method, url: target, header: sent, scope: scopeOf(target.Path)}, nil
}

// ask tries with the credentials and, if they are refused, without.
func (c *Client) ask(ctx context.Context, q question) (*http.Response, error) {
	who := c.credentials.current()
	response, err := c.askAs(ctx, q, who)
	if who.anonymous() || !refused(err) {
		return response, err
	}
	response, second := c.askAs(ctx, q, credentials{})
	switch kindOf(second) {
	case Unauthorized, Denied, NotFound: // what anonymous clients are told about private images
		return nil, err
	}
	if second == nil {
		metrics.CredentialsRejected.WithLabelValues().Inc()
		if c.rejections.taken(time.Minute) {
			logrus.WithError(err).WithField("upstream", c.host).Warn("the upstream refuses the credentials; what it gives to everyone is served")
		}
	}
	return response, second
}

// askAs acts on the challenges of the upstream, and of the host that it redirected to.
func (c *Client) askAs(ctx context.Context, q question, who credentials) (*http.Response, error) {
	response, err := c.askUpstream(ctx, q, who)
	asked := challengeOf(err)
	if asked == nil || asked.origin == c.origin || asked.realm == "" {
		return response, err
	}
	q.url, q.scope = asked.url, scopeOf(asked.url.Path)
	given, tokenErr := c.grantFor(ctx, asked, q.scope, credentials{})
	if tokenErr != nil {
		return nil, tokenErr
	}
	return c.send(ctx, q, given)
}

// askUpstream sends with what is known to be needed, and once more with what a 401 asks for.
func (c *Client) askUpstream(ctx context.Context, q question, who credentials) (*http.Response, error) {
	given, err := c.grantFor(ctx, c.learnt.Load(), q.scope, who)
	if err != nil && (!who.anonymous() || !refused(err)) {
		return nil, err
	}
	response, err := c.send(ctx, q, given)
	c.tellBasic(who, given, err)
	asked := challengeOf(err)
	if asked == nil || asked.origin != c.origin {
		return response, err
	}
	c.dropToken(asked, q.scope, who, given)
	c.learnt.Store(asked.forOther())
	again, tokenErr := c.grantFor(ctx, asked, q.scope, who)
	switch {
	case tokenErr != nil:
		return nil, tokenErr
	case again.value == "" || again == given:
		return nil, err
	}
	response, err = c.send(ctx, q, again)
	c.tellBasic(who, again, err)
	if kindOf(err) == Unauthorized {
		c.dropToken(asked, q.scope, who, again)
	}
	return response, err
}

// grantFor is what a challenge asks for, from what is held or from the token server. It is none without a challenge,
// and none that anonymous clients could give to a challenge for basic authentication.
func (c *Client) grantFor(ctx context.Context, asked *challenge, scope string, who credentials) (grant, error) {
	switch {
	case asked == nil, asked.realm == "" && (who.anonymous() || who.username == identityToken):
		return grant{}, nil
	case asked.realm == "":
		pair := base64.StdEncoding.EncodeToString([]byte(who.username + ":" + who.password))
		return grant{origin: asked.origin, value: "Basic " + pair}, nil
	case scope == "" && asked.scope == "" && asked == c.learnt.Load():
		return grant{}, nil
	}
	who = c.seenBy(asked, who)
	value, err := c.tokens.get(ctx, keyOf(asked, scope, who), func(ctx context.Context) token {
		wanted := asked.scope
		if wanted == "" {
			wanted = scope
		}
		return c.fetchToken(ctx, asked, wanted, who)
	})
	if err != nil {
		return grant{}, err
	}
	return grant{origin: asked.origin, value: "Bearer " + value}, nil
}

// seenBy is as whom the realm of a challenge is asked.
func (c *Client) seenBy(asked *challenge, who credentials) credentials {
	if who.anonymous() || asked.trusted {
		return who
	}
	realm, _ := url.Parse(asked.realm)
	c.tellWithheld(who, realm)
	if c.untrusted.taken(time.Minute) {
		logrus.WithFields(logrus.Fields{"upstream": c.host, "realm": realm.Scheme + "://" + realm.Host}).
			Warn("the token server is not the upstream's: it is asked without the credentials")
	}
	return credentials{}
}

func (c *Client) dropToken(asked *challenge, scope string, who credentials, given grant) {
	if value, ok := strings.CutPrefix(given.value, "Bearer "); ok {
		c.tokens.drop(keyOf(asked, scope, c.seenBy(asked, who)), value)
	}
}

func keyOf(asked *challenge, scope string, who credentials) tokenKey {
	return tokenKey{realm: asked.realm, service: asked.service, scope: scope, generation: who.generation}
}

func challengeOf(err error) *challenge {
	var e *Error
	if errors.As(err, &e) {
		return e.challenge
	}
	return nil
}

// send asks once, follows redirects, and returns an answer of 2xx or an *Error.
func (c *Client) send(ctx context.Context, q question, given grant) (*http.Response, error) {
	watched, cancel := context.WithCancelCause(ctx)
	watchdog := time.AfterFunc(c.options.attemptTimeout(), func() { cancel(errStalled) })
	one := &call{grant: given, watchdog: watchdog, limit: c.options.attemptTimeout(), started: time.Now()}
	request := (&http.Request{Method: q.method, URL: q.url, Header: q.header.Clone()}).WithContext(withCall(watched, one))
	metrics.UpstreamRequests.WithLabelValues(methodLabel(q.method)).Inc()

	client := &http.Client{Transport: guard{next: c.transport()}, CheckRedirect: limitRedirects}
	response, err := client.Do(request)
	watchdog.Stop()
	if err != nil {
		failure := failureOf(ctx, watched, err, one.started)
		cancel(nil)
		return nil, failure
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		response.Body = &body{
			inner: response.Body, client: c, ctx: ctx, watched: watched, cancel: cancel, watchdog: watchdog,
		}
		return response, nil
	}
	drain(response.Body)
	cancel(nil)
	failure := ofStatus(response, fmt.Sprintf("%s %s", q.method, q.url.Path))
	if failure.Kind == Unauthorized {
		failure.challenge = parseChallenge(response.Request.URL, response.Header)
	}
	return nil, failure
}

// failureOf tells a caller that left from a watchdog that bit, and both from an upstream that failed.
func failureOf(ctx, watched context.Context, err error, since time.Time) *Error {
	if ctx.Err() != nil {
		return left(ctx)
	}
	if cause := context.Cause(watched); errors.Is(cause, errStalled) {
		err = cause
	}
	return ofFailure(err, since)
}

func methodLabel(method string) string {
	if method == http.MethodGet || method == http.MethodHead {
		return method
	}
	return "other"
}
