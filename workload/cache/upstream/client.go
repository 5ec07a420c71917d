package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// Defaults of Options.
const (
	DefaultDialTimeout           = 3 * time.Second
	DefaultTLSHandshakeTimeout   = 5 * time.Second
	DefaultResponseHeaderTimeout = 10 * time.Second
	DefaultStallTimeout          = 30 * time.Second
)

// Options say which registry is asked, and how. Durations of 0 are the defaults.
type Options struct {
	// URL is http:// or https://, a host and an optional port.
	URL *url.URL
	// DialTimeout includes the look-up of the name.
	DialTimeout time.Duration
	// TLSHandshakeTimeout is from the connection to the end of the handshake.
	TLSHandshakeTimeout time.Duration
	// ResponseHeaderTimeout is from the request to the headers of its answer.
	ResponseHeaderTimeout time.Duration
	// StallTimeout is how long a body may give no byte while it is read.
	StallTimeout time.Duration
	// CAFile is PEM that is trusted besides the system's roots; "" for none. It may change at any time.
	CAFile string
	// Credentials are for URL; nil asks anonymously.
	Credentials CredentialSource
}

func (o *Options) setDefaults() {
	for value, standard := range map[*time.Duration]time.Duration{
		&o.DialTimeout:           DefaultDialTimeout,
		&o.TLSHandshakeTimeout:   DefaultTLSHandshakeTimeout,
		&o.ResponseHeaderTimeout: DefaultResponseHeaderTimeout,
		&o.StallTimeout:          DefaultStallTimeout,
	} {
		if *value <= 0 {
			*value = standard
		}
	}
}

// attemptTimeout is when a hop has given no headers for sure, also behind a proxy.
func (o *Options) attemptTimeout() time.Duration {
	return o.DialTimeout + o.TLSHandshakeTimeout + o.ResponseHeaderTimeout
}

// Client asks one registry. It may be used by many at once.
type Client struct {
	options     Options
	host        string
	origin      origin
	transports  *transports
	credentials *keeper
	tokens      *tokens
	learnt      atomic.Pointer[challenge] // what the upstream asks for, of any repository
	breaker     *breaker
	limit       rateLimit
	access      access
	rejections  ticket // for log lines
	untrusted   ticket
}

// New makes a client, and does not dial. A CA file that cannot be used is logged, and used as soon as it can be; until
// then the system's roots are trusted.
func New(options Options) (*Client, error) {
	u := options.URL
	if u == nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		text := "none"
		if u != nil {
			text = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
		}
		return nil, fmt.Errorf("URL of the upstream: %s; accepted are http:// or https://, a host and an optional port", text)
	}
	options.URL = &url.URL{Scheme: u.Scheme, Host: u.Host}
	options.setDefaults()
	c := &Client{
		options: options,
		host:    u.Host,
		origin:  originOf(u),
		tokens:  newTokens(),
		breaker: newBreaker(u.Host),
	}
	c.transports = newTransports(options, c.access.recheck)
	c.credentials = &keeper{source: options.Credentials, host: u.Host, changed: func(generation uint64) {
		c.tokens.dropOthers(generation)
		c.access.renew(generation)
	}}
	return c, nil
}

func (c *Client) transport() http.RoundTripper { return c.transports.get() }

// Available returns nil if Do would ask the upstream now, and otherwise what it would answer at once: an *Error of
// Kind Open or RateLimited.
func (c *Client) Available() error {
	if err := c.breaker.check(); err != nil {
		return err
	}
	return c.limit.check()
}

// Do asks the upstream. path is /v2/ and what follows, with an optional query; header may be nil, and those of it that
// are for authentication or about the connection are not sent. Redirects are followed. ctx governs the request and
// the body of the answer.
//
// An answer of 2xx is returned, and its body must be closed; every other outcome is an *Error. A read of the body that
// fails, other than by its end, returns an *Error, too.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	q, err := c.newQuestion(method, path, header)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, left(ctx)
	}
	if err := c.limit.check(); err != nil {
		return nil, err
	}
	if err := c.breaker.admit(); err != nil {
		return nil, err
	}
	response, err := c.ask(ctx, q)
	c.settle(err)
	if err != nil {
		return nil, err
	}
	if method == http.MethodHead {
		c.breaker.well()
	}
	return response, nil
}

// settle tells breaker, rate limit and metrics how a request, or the read of a body, ended.
func (c *Client) settle(err error) {
	if err == nil {
		c.breaker.alive()
		return
	}
	e := &Error{Kind: Other}
	errors.As(err, &e)
	if e.cancelled {
		c.breaker.abandoned()
		return
	}
	metrics.UpstreamErrors.WithLabelValues(string(e.Kind)).Inc()
	if e.Kind == RateLimited {
		c.limit.extend(e.RetryAfter)
	}
	if e.Status > 0 && e.Status < http.StatusInternalServerError {
		c.breaker.alive()
		c.breaker.well()
		return
	}
	c.breaker.failed(e)
}
