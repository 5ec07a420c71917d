package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
)

const (
	userAgent     = "capi-registry-cache"
	maxTokenBytes = 1 << 20
	// identityToken is the user name with which credential helpers mark a password as a refresh token,
	// https://github.com/docker/docker-credential-helpers.
	identityToken = "<token>"
)

// fetchToken asks the realm of a challenge for a token. Refused credentials are an answer that is kept for a while.
func (c *Client) fetchToken(ctx context.Context, asked *challenge, scope string, who credentials) token {
	limit := c.options.attemptTimeout() + c.options.ResponseHeaderTimeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	started := time.Now()
	value, life, err := c.requestToken(ctx, asked, scope, who)
	if err == nil {
		c.tellToken(who, nil)
		return token{value: value, until: started.Add(life / 10 * 9)}
	}
	failure := ofFailure(err, started)
	c.tellToken(who, failure)
	if refused(failure) {
		return token{err: failure, until: started.Add(refusedLife)}
	}
	return token{err: failure}
}

func (c *Client) requestToken(ctx context.Context, asked *challenge, scope string, who credentials) (string, time.Duration, error) {
	parameters := map[string]string{"realm": asked.realm, "service": asked.service}
	if scope != "" {
		parameters["scope"] = scope
	}
	user := who.username
	if user == identityToken {
		user = ""
	}
	options, err := auth.GenerateTokenOptions(ctx, c.host, user, who.password, auth.Challenge{
		Scheme: auth.BearerAuth, Parameters: parameters,
	})
	if err != nil {
		return "", 0, err
	}
	header := http.Header{"User-Agent": {userAgent}}
	client := &http.Client{Transport: tokenGuard{registry: c, next: c.transport()}, CheckRedirect: limitRedirects}
	if who.username == identityToken {
		answer, err := auth.FetchTokenWithOAuth(ctx, client, header, userAgent, options)
		if err != nil {
			return "", 0, err
		}
		return answer.AccessToken, tokenLife(answer.ExpiresInSeconds), nil
	}
	answer, err := auth.FetchToken(ctx, client, header, options)
	if err != nil {
		return "", 0, err
	}
	return answer.Token, tokenLife(answer.ExpiresInSeconds), nil
}

func tokenLife(seconds int) time.Duration {
	switch {
	case seconds <= 0:
		return defaultTokenLife
	case seconds >= int(longestTokenLife/time.Second):
		return longestTokenLife
	}
	return time.Duration(seconds) * time.Second
}

// tokenGuard sends requests for tokens. Only a realm that distribution accepts sees credentials: others get no
// Authorization, and no form at all. Answers without a token come out as *Error.
type tokenGuard struct {
	registry *Client
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g tokenGuard) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Del("Referer")
	if !realmAccepted(g.registry.options.URL, request.URL) {
		if request.Body != nil && request.Body != http.NoBody {
			_ = request.Body.Close()
			return nil, &Error{Kind: Denied, Err: errors.New("the token server is not the upstream's: credentials are not sent to it")}
		}
		request.Header.Del("Authorization")
	}
	response, err := g.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = bounded{Reader: io.LimitReader(response.Body, maxTokenBytes), Closer: response.Body}
	if response.StatusCode >= http.StatusBadRequest {
		drain(response.Body)
		return nil, ofStatus(response, "asking for a token")
	}
	return response, nil
}

// bounded is a body that is not read to its end.
type bounded struct {
	io.Reader
	io.Closer
}
