package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
)

const (
	username   = "puller"
	password   = "hunter2"
	tokenWord  = "issued-token-"
	querySign  = "signature=c2lnbmVk"
	content    = "content of a layer"
	publicBlob = "/v2/public/app/blobs/sha256:1"
	secretBlob = "/v2/private/app/blobs/sha256:1"
)

// logged is everything that any test has logged.
var logged = logrustest.NewGlobal()

// TestMain looks for secrets in everything that was logged.
func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	code := m.Run()
	for _, entry := range logged.AllEntries() {
		line, err := entry.String()
		if secret := secretIn(line); err != nil || secret != "" {
			fmt.Printf("a log line holds %q: %s\n", secret, line)
			code = 1
		}
	}
	os.Exit(code)
}

// secretIn finds what no message may hold.
func secretIn(text string) string {
	for _, secret := range []string{password, tokenWord, querySign, "scope="} {
		if strings.Contains(text, secret) {
			return secret
		}
	}
	return ""
}

// registry is one that asks for tokens, or for basic authentication, and its token server at /token. Repositories
// below public/ are for everyone, all others for the user alone.
type registry struct {
	*httptest.Server
	mu        sync.Mutex
	basic     bool
	open      bool   // /v2/ is for everyone
	realm     string // "": its own
	password  string
	expiresIn int
	fail      int           // status of everything but tokens
	failToken int           // status of tokens
	header    http.Header   // of failures
	hold      chan struct{} // tokens are held until it is closed

	issued map[string]string // token to scope and user
	seen   []string
}

func newRegistry(t *testing.T, change ...func(*registry)) *registry {
	t.Helper()
	r := &registry{password: password, issued: map[string]string{}, header: http.Header{}}
	for _, change := range change {
		change(r)
	}
	r.Server = serveTLS(t, defaultCA, r)
	return r
}

// set changes the registry while it runs.
func (r *registry) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil && request.URL.Path == "/token" {
		<-hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kind, _, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	r.seen = append(r.seen, strings.TrimSpace(request.Method+" "+request.URL.Path+" "+kind))
	if request.URL.Path == "/token" {
		r.serveToken(w, request)
		return
	}
	if r.fail != 0 {
		for name, values := range r.header {
			w.Header()[name] = values
		}
		http.Error(w, "no", r.fail)
		return
	}
	if !r.allowed(request) {
		w.Header().Set("WWW-Authenticate", r.challenge(request))
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, content)
}

func (r *registry) challenge(request *http.Request) string {
	if r.basic {
		return `Basic realm="registry"`
	}
	realm := r.realm
	if realm == "" {
		realm = "https://" + request.Host + "/token"
	}
	return fmt.Sprintf(`Bearer realm="%s",service="registry",scope="%s"`, realm, scopeOf(request.URL.Path))
}

func (r *registry) allowed(request *http.Request) bool {
	if r.open && request.URL.Path == "/v2/" {
		return true
	}
	public := strings.HasPrefix(request.URL.Path, "/v2/public/")
	if r.basic {
		user, secret, given := request.BasicAuth()
		if given {
			return user == username && secret == r.password
		}
		return public
	}
	token, _ := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	rights := r.issued[token]
	return rights == scopeOf(request.URL.Path)+" "+username || public && rights == scopeOf(request.URL.Path)+" "
}

func (r *registry) serveToken(w http.ResponseWriter, request *http.Request) {
	if r.failToken != 0 {
		for name, values := range r.header {
			w.Header()[name] = values
		}
		http.Error(w, "no", r.failToken)
		return
	}
	user, secret, given := request.BasicAuth()
	if request.Method == http.MethodPost {
		user, secret, given = username, request.PostFormValue("refresh_token"), true
	}
	if given && (user != username || secret != r.password) {
		http.Error(w, "wrong", http.StatusUnauthorized)
		return
	}
	token := fmt.Sprintf("%s%d", tokenWord, len(r.seen))
	r.issued[token] = request.FormValue("scope") + " " + user
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": r.expiresIn})
}

// count is how many requests began with prefix.
func (r *registry) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(r.seen), func(line string) bool { return !strings.HasPrefix(line, prefix) }))
}

func (r *registry) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// newClient asks the registry at address with short time-outs.
func newClient(t *testing.T, address string, change ...func(*Options)) *Client {
	t.Helper()
	g := NewWithT(t)
	remote, err := url.Parse(address)
	g.Expect(err).NotTo(HaveOccurred())
	options := Options{
		URL: remote, CAFile: defaultCA.file(t),
		DialTimeout: time.Second, TLSHandshakeTimeout: time.Second, ResponseHeaderTimeout: time.Second, StallTimeout: time.Second,
	}
	for _, change := range change {
		change(&options)
	}
	client, err := New(options)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(client.transports.get().CloseIdleConnections)
	return client
}

func withCredentials(username, password string) func(*Options) {
	return func(o *Options) { o.Credentials = StaticCredentials(username, password) }
}

// running runs the client until the test ends.
func running(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// pull asks for path and returns what came; an error was looked through for secrets.
func pull(t *testing.T, c *Client, path string) (string, error) {
	t.Helper()
	response, err := c.Do(context.Background(), http.MethodGet, path, nil)
	if err != nil {
		return "", checked(t, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	got, err := io.ReadAll(response.Body)
	return string(got), checked(t, err)
}

// checked fails the test if an error of this package is not an *Error, or holds a secret.
func checked(t *testing.T, err error) error {
	t.Helper()
	if err == nil {
		return nil
	}
	g := NewWithT(t)
	g.Expect(err).To(BeAssignableToTypeOf(&Error{}))
	g.Expect(secretIn(fmt.Sprintf("%v %+v %v", err, err, as(err).Err))).To(BeEmpty())
	return err
}

// as is what pull has checked err to be.
func as(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}

func ofKind(kind Kind) OmegaMatcher {
	return WithTransform(kindOf, Equal(kind))
}

// swapped is a mounted Secret: files are links through ..data, which is replaced as a whole.
type swapped struct {
	dir  string
	next atomic.Int64
}

func newSwapped(t *testing.T, files map[string]string) *swapped {
	t.Helper()
	s := &swapped{dir: t.TempDir()}
	s.write(t, files)
	for name := range files {
		NewWithT(t).Expect(os.Symlink(filepath.Join("..data", name), s.path(name))).To(Succeed())
	}
	return s
}

func (s *swapped) path(name string) string { return filepath.Join(s.dir, name) }

func (s *swapped) write(t *testing.T, files map[string]string) {
	t.Helper()
	g := NewWithT(t)
	version := fmt.Sprintf("..%d", s.next.Add(1))
	g.Expect(os.Mkdir(s.path(version), 0o700)).To(Succeed())
	for name, content := range files {
		g.Expect(os.WriteFile(filepath.Join(s.path(version), name), []byte(content), 0o600)).To(Succeed())
	}
	g.Expect(os.Symlink(version, s.path("..data_tmp"))).To(Succeed())
	g.Expect(os.Rename(s.path("..data_tmp"), s.path("..data"))).To(Succeed())
}
