package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxRedirects = 10
	maxDrained   = 64 << 10
	drainTimeout = time.Second
	idlePerHost  = 64
	idleTimeout  = 90 * time.Second
	// A connection without a frame for pingAfter is asked whether it lives, and closed after pingTimeout.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	readBuffer  = 64 << 10
)

// transports holds the one that trusts what the CA file says now.
type transports struct {
	options   Options
	changed   func() // other certificates are trusted from now on
	due       ticket
	reading   sync.Mutex
	complaint complaint
	content   []byte      // of the CA file, as last read
	err       error       // of that content
	trusting  atomic.Bool // that the file had certificates once
	current   atomic.Pointer[http.Transport]
}

func newTransports(options Options, changed func()) *transports {
	t := &transports{options: options, changed: changed}
	t.current.Store(newTransport(options, nil))
	if options.CAFile != "" {
		t.due.taken(rereadInterval)
		t.reread()
	}
	return t
}

func (t *transports) get() *http.Transport {
	if t.options.CAFile != "" && t.due.taken(rereadInterval) {
		t.reread()
	}
	return t.current.Load()
}

// reread replaces the transport if the CA file has changed. Open requests end on the old one.
func (t *transports) reread() {
	if !t.reading.TryLock() {
		return
	}
	defer t.reading.Unlock()
	content, err := os.ReadFile(filepath.Clean(t.options.CAFile))
	if err != nil {
		t.complaint.about("CA certificates", &fileError{label: "ca", err: fmt.Errorf("CA file: %w", err)})
		return
	}
	if t.content != nil && bytes.Equal(content, t.content) {
		t.complaint.about("CA certificates", t.err)
		return
	}
	pool, err := t.pool(content)
	t.content, t.err = content, err
	t.complaint.about("CA certificates", err)
	if err != nil {
		return
	}
	old := t.current.Swap(newTransport(t.options, pool))
	old.CloseIdleConnections()
	t.trusting.Store(true)
	t.changed()
}

// trusts tells whether certificates of the CA file are in force.
func (t *transports) trusts() bool { return t.trusting.Load() }

func (t *transports) pool(content []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(content) {
		return nil, &fileError{label: "ca", err: fmt.Errorf("CA file: %q holds no certificate; accepted is PEM", t.options.CAFile)}
	}
	return pool, nil
}

// newTransport trusts roots; nil: the system's.
func newTransport(options Options, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: tunnelOpened,
		DialContext:            (&net.Dialer{Timeout: options.DialTimeout, Control: losing(options.DialTimeout)}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    options.TLSHandshakeTimeout,
		ResponseHeaderTimeout:  options.ResponseHeaderTimeout,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		ReadBufferSize:         readBuffer,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// tunnelOpened turns an egress proxy's refusal of a tunnel into what it is: no way to the upstream. net/http has only the words
// of its status.
func tunnelOpened(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &Error{Kind: Refused, Err: fmt.Errorf("the egress proxy opens no tunnel: %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))}
}

// losing ends a connection whose other side has acknowledged nothing for so long (TCP_USER_TIMEOUT in tcp(7)). An upstream
// that is slow acknowledges; one that is gone does not, and need not be waited for as long.
func losing(after time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Where that is not possible, ResponseHeaderTimeout ends the wait.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds())) //nolint:gosec // a descriptor is an int
		})
	}
}

func limitRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirects
	}
	return nil
}

// grant is an Authorization header, and the only origin that may see it. The zero value is none.
type grant struct {
	origin origin
	value  string
}

// call is one request with all its redirects.
type call struct {
	grant    grant
	watchdog *time.Timer // ends the request
	limit    time.Duration
	started  time.Time // of the last hop
}

type callKey struct{}

// guard sends requests to the upstream and to where it redirects. Whatever headers a redirect carries, only the
// origin of the call's grant gets an Authorization.
type guard struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := request.Clone(request.Context())
	sent.Header.Del("Authorization")
	sent.Header.Del("Referer") // it may be a signed URL
	if call, ok := request.Context().Value(callKey{}).(*call); ok {
		call.started = time.Now()
		call.watchdog.Reset(call.limit)
		if call.grant.value != "" && call.grant.origin == originOf(request.URL) {
			sent.Header.Set("Authorization", call.grant.value)
		}
	}
	response, err := g.next.RoundTrip(sent)
	if response != nil {
		response.Request = request // which has no Authorization
	}
	return response, err
}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// drain reads the rest of a short body, so that its connection can be used again, and closes it.
func drain(body io.ReadCloser) {
	late := time.AfterFunc(drainTimeout, func() { _ = body.Close() })
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, body, maxDrained)
	_ = body.Close()
}
