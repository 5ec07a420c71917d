package upstream

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a network where every host answers alike: any name, any port, with TLS and without.
type world struct {
	plain, secure pipes
	challenge     string
	location      string

	mu     sync.Mutex
	leaked string
}

// pipes is a listener whose connections do not leave the process.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
}

func newPipes() pipes {
	return pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case connection := <-p.connections:
		return connection, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.connections <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newWorld(challenge, location string) *world {
	w := &world{plain: newPipes(), secure: newPipes(), challenge: challenge, location: location}
	for scheme, listener := range map[string]pipes{"http": w.plain, "https": w.secure} {
		server := &http.Server{Handler: w.host(scheme), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }()
	}
	return w
}

// host is any host; it answers a token to who asks for one, and the challenge to all others.
func (w *world) host(scheme string) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) {
		w.look(scheme, r)
		switch {
		case r.Method == http.MethodPost, strings.HasSuffix(r.URL.Path, "/token"):
			_, _ = io.WriteString(out, `{"token":"`+tokenWord+`","access_token":"`+tokenWord+`"}`)
		case r.Header.Get("Authorization") != "":
			out.WriteHeader(http.StatusForbidden)
		case w.location != "" && r.Host == "registry.example.com" && strings.Contains(r.URL.Path, "/blobs/"):
			out.Header().Set("Location", w.location)
			out.WriteHeader(http.StatusTemporaryRedirect)
		default:
			out.Header().Set("WWW-Authenticate", w.challenge)
			out.WriteHeader(http.StatusUnauthorized)
		}
	}
}

// look finds credentials where they do not belong: at http, or outside of example.com.
func (w *world) look(scheme string, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name := (&url.URL{Host: r.Host}).Hostname()
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	ours := scheme == "https" && (name == "example.com" || strings.HasSuffix(name, ".example.com"))
	if ours {
		return
	}
	basic := strings.HasPrefix(r.Header.Get("Authorization"), "Basic")
	if basic || strings.Contains(string(body)+r.URL.String(), password) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.leaked = fmt.Sprintf("%s://%s%s: %v %s", scheme, r.Host, r.URL, r.Header, body)
	}
}

func (w *world) close() {
	close(w.plain.closed)
	close(w.secure.closed)
}

// FuzzChallenge lets an upstream ask for credentials, and redirect, as it likes: nothing panics, no credential leaves
// the upstream and its domain, and no error tells a secret.
func FuzzChallenge(f *testing.F) {
	for _, seed := range [][2]string{
		{`Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a:pull"`, ""},
		{`Bearer realm="https://auth.example.net/token"`, "https://cdn.example.net/blobs/1"},
		{`Bearer realm="http://registry.example.com/token"`, "http://registry.example.com/blobs/1"},
		{`Bearer realm="https://registry.example.com@evil.example.net/token"`, "//evil.example.net/blobs/1"},
		{`Bearer realm="https://registry.example.com.evil.net/token"`, "https://registry.example.com:444/"},
		{`Bearer realm="//evil.example.net/token"`, "/v2/b/manifests/1"},
		{`Bearer realm="https://10.0.0.1/token"`, "https://10.0.0.1"},
		{`Basic realm="registry"`, "https://evil.example.net/v2/a/blobs/1"},
		{`Digest realm="a", nonce="b"`, "%"},
		{`Bearer realm="https://[::1%25x]/",scope="a  b c"`, "https://user:pw@evil.example.net/"},
		{`bEaReR realm="\"`, ""},
		{"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	remote := &url.URL{Scheme: "https", Host: "registry.example.com"}
	f.Fuzz(func(t *testing.T, challenge, location string) {
		w := newWorld(challenge, location)
		defer w.close()
		for _, user := range []string{username, identityToken} {
			c, err := New(Options{URL: remote, Credentials: StaticCredentials(user, password)})
			if err != nil {
				t.Fatal(err)
			}
			transport := c.transports.get()
			transport.Proxy, transport.DialContext, transport.DialTLSContext = nil, w.plain.dial, w.secure.dial
			for _, path := range []string{publicBlob, "/v2/a/manifests/1"} {
				response, err := c.Do(context.Background(), http.MethodGet, path, nil)
				if err == nil {
					_ = response.Body.Close()
					continue
				}
				_ = checked(t, err)
			}
			transport.CloseIdleConnections()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.leaked != "" {
			t.Errorf("%q and %q made credentials go to %s", challenge, location, w.leaked)
		}
	})
}
