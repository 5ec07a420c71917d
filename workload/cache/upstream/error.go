package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Kind is why the upstream gave no content; a label of metrics.
type Kind string

// All kinds.
const (
	Refused      Kind = "refused"      // no connection: refused, or no route
	Timeout      Kind = "timeout"      // nothing came for too long
	DNS          Kind = "dns"          // its name was not resolved
	TLS          Kind = "tls"          // it is not who it should be, or speaks no TLS
	Reset        Kind = "reset"        // the connection broke
	ServerError  Kind = "server_error" // 5xx
	RateLimited  Kind = "rate_limited" // 429, or not asked because of an earlier 429
	Unauthorized Kind = "unauthorized" // 401
	Denied       Kind = "denied"       // 403
	NotFound     Kind = "not_found"    // 404
	Digest       Kind = "digest"       // the content is not what was asked for; told by those who check it
	Open         Kind = "open"         // not asked, because it did not answer before
	Other        Kind = "other"        // all else, also a caller that left
)

// Error is why the upstream gave no content. Its text holds no credential, no token and no query string.
type Error struct {
	Kind Kind
	// Status is that of the upstream's, or of its token server's, answer; 0 if there was none.
	Status int
	// RetryAfter is for how long the upstream will not be asked; set with RateLimited only.
	RetryAfter time.Duration
	// Err tells more; it is the context's error, if that ended the request.
	Err error

	since       time.Time  // when the wait began that failed
	unreachable bool       // there is no way to the upstream
	cancelled   bool       // the caller left
	challenge   *challenge // of a 401
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return "upstream: " + string(e.Kind)
	}
	return "upstream: " + string(e.Kind) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

var (
	errStalled   = errors.New("nothing came for too long")
	errRedirects = errors.New("more than 10 redirects")
)

// refused is true if the upstream or its token server wants other credentials, or none.
func refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Unauthorized || e.Kind == Denied)
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}

// left is the error for a caller whose context ended.
func left(ctx context.Context) *Error {
	return &Error{Kind: Other, Err: ctx.Err(), cancelled: true}
}

// ofStatus is the error for an answer that is not 2xx. what names the request, without its query.
func ofStatus(response *http.Response, what string) *Error {
	status := response.StatusCode
	e := &Error{Kind: Other, Status: status, Err: fmt.Errorf("%s: %d %s", what, status, http.StatusText(status))}
	switch {
	case status == http.StatusUnauthorized:
		e.Kind = Unauthorized
	case status == http.StatusForbidden:
		e.Kind = Denied
	case status == http.StatusNotFound:
		e.Kind = NotFound
	case status == http.StatusTooManyRequests:
		e.Kind = RateLimited
		e.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	case status >= http.StatusInternalServerError:
		e.Kind = ServerError
	}
	return e
}

// ofFailure is the error for a request or a read that failed with err.
func ofFailure(err error, since time.Time) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	kind, unreachable := classify(err)
	return &Error{Kind: kind, Err: errors.New(plain(err)), since: since, unreachable: unreachable}
}

// classify finds the kind of a transport's error, and whether there was no route at all.
func classify(err error) (kind Kind, unreachable bool) {
	var (
		name    *net.DNSError
		network net.Error
	)
	switch {
	case errors.As(err, &name):
		return DNS, true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		return Refused, true
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, false
	case errors.Is(err, errStalled), errors.As(err, &network) && network.Timeout(), isLost(err):
		return Timeout, false
	case isTLS(err):
		return TLS, false
	case isReset(err):
		return Reset, false
	case isDial(err):
		return Refused, false
	}
	return Other, false
}

// isLost is true if net/http's ping of an HTTP/2 connection was not answered.
func isLost(err error) bool { return strings.Contains(err.Error(), "http2: client connection lost") }

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		operation    *net.OpError
	)
	switch {
	case errors.As(err, &verification), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return true
	case errors.As(err, &operation): // an alert, sent or received
		return operation.Op == "remote error" || operation.Op == "local error"
	}
	return strings.Contains(err.Error(), "tls: ")
}

// isReset recognises what net/http has no exported types for by its text.
func isReset(err error) bool {
	for _, cause := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, cause) {
			return true
		}
	}
	text := err.Error()
	for _, part := range []string{"http2: ", "stream error: ", "connection error: ", "server closed idle connection"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

func isDial(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

// plain is the text of err without the URL that net/http puts in front, up to the first thing that it quotes: that
// came from the network, and may be anything.
func plain(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	text := err.Error()
	if end := strings.IndexAny(text, "\"`?"); end >= 0 {
		text = strings.TrimRight(text[:end], " :(")
	}
	return text
}
