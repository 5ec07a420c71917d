package upstream

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// soon is for what happens on use, at most once a second.
const soon = "20s"

func TestRotatedCredentialsAreUsedWithoutARestart(t *testing.T) {
	g := NewWithT(t)
	files := newSwapped(t, map[string]string{"username": username + "\n", "password": password + "\r\n"})
	r := newRegistry(t)
	c := newClient(t, r.URL, func(o *Options) {
		o.Credentials = CredentialFiles(files.path("username"), files.path("password"))
	})
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))

	r.set(func() { r.password, r.issued = password+"-2", map[string]string{} })
	files.write(t, map[string]string{"username": username, "password": password + "-2"})
	g.Eventually(func() (string, error) { return pull(t, c, secretBlob) }, soon, "100ms").Should(Equal(content))
}

func TestTokensOfOldCredentialsAreDropped(t *testing.T) {
	g := NewWithT(t)
	files := newSwapped(t, map[string]string{"username": username, "password": password})
	r := newRegistry(t)
	c := newClient(t, r.URL, func(o *Options) {
		o.Credentials = CredentialFiles(files.path("username"), files.path("password"))
	})
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	r.set(func() { r.password = password + "-2" }) // the old token is still good
	files.write(t, map[string]string{"username": username, "password": password + "-2"})
	g.Eventually(func(g Gomega) {
		g.Expect(pull(t, c, secretBlob)).To(Equal(content))
		g.Expect(r.count("GET /token")).To(Equal(2))
	}, soon, "100ms").Should(Succeed())
	g.Expect(c.tokens.held).To(HaveLen(1))
}

func TestCredentialFilesThatCannotBeUsedLeaveTheLastGoodOnes(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	user, pass := filepath.Join(dir, "username"), filepath.Join(dir, "password")
	r := newRegistry(t, func(r *registry) { r.basic = true })
	c := newClient(t, r.URL, func(o *Options) { o.Credentials = CredentialFiles(user, pass) })
	errorsOf := func(label string) func() float64 {
		return func() float64 { return testutil.ToFloat64(metrics.FileErrors.WithLabelValues(label)) }
	}
	users, passwords := errorsOf("username")(), errorsOf("password")()

	_, err := pull(t, c, secretBlob)
	g.Expect(err).To(ofKind(Unauthorized), "there were never any")
	g.Expect(errorsOf("username")()).To(Equal(users + 1))

	g.Expect(os.WriteFile(pass, []byte(password), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(user, []byte(username), 0o600)).To(Succeed())
	g.Eventually(func() (string, error) { return pull(t, c, secretBlob) }, soon, "100ms").Should(Equal(content))

	g.Expect(os.WriteFile(pass, []byte("\n"), 0o600)).To(Succeed())
	g.Eventually(func() float64 {
		g.Expect(pull(t, c, secretBlob)).To(Equal(content))
		return errorsOf("password")()
	}, soon, "100ms").Should(Equal(passwords + 1))

	g.Expect(os.Remove(user)).To(Succeed())
	g.Eventually(func() float64 {
		g.Expect(pull(t, c, secretBlob)).To(Equal(content))
		return errorsOf("username")()
	}, soon, "100ms").Should(Equal(users + 2))
}

func TestUserNameAndPasswordAreOfTheSameSecret(t *testing.T) {
	g := NewWithT(t)
	write := func(i int) map[string]string {
		return map[string]string{"username": fmt.Sprint("u", i), "password": fmt.Sprint("p", i)}
	}
	files := newSwapped(t, write(0))
	source := CredentialFiles(files.path("username"), files.path("password"))
	var ended atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !ended.Load() {
			if user, pass, err := source("r"); err == nil && user[1:] != pass[1:] {
				t.Errorf("%s with %s", user, pass)
			}
		}
	})
	for i := range 200 {
		files.write(t, write(i))
	}
	ended.Store(true)
	reader.Wait()
	user, pass, err := source("r")
	g.Expect([]any{user, pass, err}).To(Equal([]any{"u199", "p199", nil}))
}

func TestCredentialFilesThatAreNotSetAreNamed(t *testing.T) {
	_, _, err := CredentialFiles("", "")("r")
	NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("username file"), ContainSubstring("accepted"))))
}

// script is a credential helper; it counts its runs in a file next to it.
func script(t *testing.T, commands string) (path string, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "helper")
	text := "#!/bin/sh\nprintf x >>" + dir + "/runs\nread host\n" + commands + "\n"
	NewWithT(t).Expect(os.WriteFile(path, []byte(text), 0o700)).To(Succeed())
	return path, func() int {
		content, _ := os.ReadFile(filepath.Join(dir, "runs"))
		return len(content)
	}
}

func TestACredentialHelperIsAskedForTheHostOfTheUpstream(t *testing.T) {
	g := NewWithT(t)
	path, runs := script(t, `printf '{"Username":"%s %s","Secret":"hunter2"}' "$1" "$host"`)
	hour, none := time.Hour, time.Duration(0)
	for name, test := range map[string]struct {
		lifetime *time.Duration
		runs     int
	}{"asked once": {nil, 1}, "asked once an hour": {&hour, 1}, "asked each time": {&none, 2}} {
		before := runs()
		source := CredentialHelper(path, test.lifetime)
		for range 2 {
			user, pass, err := source("registry.example.com:5000")
			g.Expect([]any{user, pass, err}).To(Equal([]any{"get registry.example.com:5000", "hunter2", nil}), name)
		}
		g.Expect(runs()-before).To(Equal(test.runs), name)
	}
}

func TestACredentialHelperThatFailsTellsNoSecret(t *testing.T) {
	g := NewWithT(t)
	for name, commands := range map[string]string{
		"a status":  `echo "hunter2"; echo hunter2 >&2; exit 3`,
		"no answer": `echo "hunter2 {"`,
	} {
		path, _ := script(t, commands)
		_, _, err := CredentialHelper(path, nil)("r")
		g.Expect(err).To(MatchError(ContainSubstring(path)), name)
		g.Expect(secretIn(err.Error())).To(BeEmpty(), name)
	}
	_, _, err := CredentialHelper("/nowhere/helper", nil)("r")
	g.Expect(err).To(MatchError(ContainSubstring("/nowhere/helper")))
}

func TestASlowCredentialSourceHoldsOnlyOneRequestUp(t *testing.T) {
	g := NewWithT(t)
	var asked atomic.Int64
	release := make(chan struct{})
	k := &keeper{changed: func(uint64) {}, source: func(string) (string, string, error) {
		if asked.Add(1) > 1 {
			<-release
		}
		return username, password, nil
	}}
	g.Expect(k.current().password).To(Equal(password))
	g.Consistently(asked.Load, "500ms").Should(Equal(int64(1)), "not twice within a second")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for asked.Load() < 2 {
			_ = k.current()
		}
	}()
	g.Eventually(asked.Load, soon).Should(Equal(int64(2)))
	g.Expect(k.current().password).To(Equal(password), "from before")
	close(release)
	<-done
}

// rotating is a server whose certificate changes.
type rotating struct {
	*httptest.Server
	certificate atomic.Pointer[tls.Certificate]
	closed      atomic.Int64 // connections
}

func newRotating(t *testing.T, ca *authority) *rotating {
	t.Helper()
	r := &rotating{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, content)
	}))}
	r.rotate(t, ca)
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*r.certificate.Load()}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}, nil
	}}
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.EnableHTTP2 = true
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			r.closed.Add(1)
		}
	}
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *rotating) rotate(t *testing.T, ca *authority) {
	t.Helper()
	certificate := ca.issue(t)
	r.certificate.Store(&certificate)
	if r.Listener != nil && r.URL != "" {
		r.CloseClientConnections()
	}
}

func TestARotatedCAIsTrustedWithoutARestart(t *testing.T) {
	g := NewWithT(t)
	next := newAuthority()
	files := newSwapped(t, map[string]string{"ca.crt": string(defaultCA.pem)})
	server := newRotating(t, defaultCA)
	c := newClient(t, server.URL, func(o *Options) { o.CAFile = files.path("ca.crt") })
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))

	server.rotate(t, next)
	g.Eventually(func() error {
		_, err := pull(t, c, publicBlob)
		return err
	}, soon).Should(ofKind(TLS))
	files.write(t, map[string]string{"ca.crt": string(next.pem)})
	running(t, c)
	g.Eventually(func() (string, error) { return pull(t, c, publicBlob) }, soon, "50ms").Should(Equal(content))
}

func TestConnectionsFromBeforeANewCAAreClosed(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "ca.crt")
	g.Expect(os.WriteFile(path, defaultCA.pem, 0o600)).To(Succeed())
	server := newRotating(t, defaultCA)
	c := newClient(t, server.URL, func(o *Options) { o.CAFile = path })
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))

	g.Expect(os.WriteFile(path, append(newAuthority().pem, defaultCA.pem...), 0o600)).To(Succeed())
	g.Eventually(func() int64 {
		g.Expect(pull(t, c, publicBlob)).To(Equal(content))
		return server.closed.Load()
	}, soon, "100ms").Should(Equal(int64(1)))
}

func TestACAFileThatCannotBeUsedLeavesTheLastGoodOne(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "ca.crt")
	complaints := func() float64 { return testutil.ToFloat64(metrics.FileErrors.WithLabelValues("ca")) }
	before := complaints()
	server := newRotating(t, defaultCA)
	c := newClient(t, server.URL, func(o *Options) { o.CAFile = path })
	g.Expect(complaints()).To(Equal(before+1), "it is not there at the start")
	_, err := pull(t, c, publicBlob)
	g.Expect(err).To(ofKind(TLS))
	running(t, c)

	g.Expect(os.WriteFile(path, defaultCA.pem, 0o600)).To(Succeed())
	g.Eventually(func() (string, error) { return pull(t, c, publicBlob) }, soon, "100ms").Should(Equal(content))
	for i, broken := range []string{"", "no PEM"} {
		g.Expect(os.WriteFile(path, []byte(broken), 0o600)).To(Succeed())
		g.Eventually(func() float64 {
			g.Expect(pull(t, c, publicBlob)).To(Equal(content))
			return complaints()
		}, soon, "100ms").Should(BeNumerically(">", before+1))
		server.rotate(t, defaultCA) // new connections are still trusted
		g.Eventually(func() (string, error) { return pull(t, c, publicBlob) }, soon).Should(Equal(content), "%d", i)
	}
}
