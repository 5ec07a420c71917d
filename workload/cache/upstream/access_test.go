package upstream

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// checking checks the access of a client until the test ends.
func checking(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.CheckAccess(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func toldAs(state report.AccessState, message string) types.GomegaMatcher {
	return Equal(report.Access{State: state, Message: message})
}

func TestTheUpstreamIsAskedWhatItThinksOfTheCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*registry)
		client func(*testing.T, *Options)
		want   types.GomegaMatcher
	}{
		"basic, right": {
			func(r *registry) { r.basic = true }, right, toldAs(report.AccessAccepted, ""),
		},
		"basic, wrong": {
			func(r *registry) { r.basic = true }, wrong, toldAs(report.AccessRejected, "upstream: unauthorized: GET /v2/: 401 Unauthorized"),
		},
		"token, right": {
			func(*registry) {}, right, toldAs(report.AccessAccepted, ""),
		},
		"token, wrong": {
			func(*registry) {}, wrong, toldAs(report.AccessRejected, "upstream: unauthorized: asking for a token: 401 Unauthorized"),
		},
		"a token server that denies": {
			func(r *registry) { r.failToken = http.StatusForbidden }, right, toldAs(report.AccessRejected, "upstream: denied: asking for a token: 403 Forbidden"),
		},
		"a token server that fails": {
			func(r *registry) { r.failToken = http.StatusBadGateway }, right, toldAs(report.AccessUnchecked, ""),
		},
		"a token server of somebody else": {
			func(r *registry) { r.realm = "https://tokens.example.com/token" }, right,
			And(HaveField("State", report.AccessWithheld), HaveField("Message", ContainSubstring("https://tokens.example.com is not under the domain of 127.0.0.1"))),
		},
		"an upstream that lets everyone in": {
			func(r *registry) { r.open = true }, right, toldAs(report.AccessUnasked, ""),
		},
		"an upstream that fails": {
			func(r *registry) { r.fail = http.StatusServiceUnavailable }, right, toldAs(report.AccessUnchecked, ""),
		},
		"a CA that signed its certificate": {
			func(*registry) {}, func(*testing.T, *Options) {}, toldAs(report.AccessAccepted, ""),
		},
		"a CA that did not": {
			func(*registry) {}, func(t *testing.T, o *Options) { o.CAFile = newAuthority().file(t) },
			toldAs(report.AccessUntrusted, "upstream: tls: tls: failed to verify certificate: x509: certificate signed by unknown authority"),
		},
		"a CA file that is missing": {
			func(*registry) {}, func(_ *testing.T, o *Options) { o.CAFile = "/nowhere/ca.crt" },
			toldAs(report.AccessUnreadable, "CA file: open /nowhere/ca.crt: no such file or directory"),
		},
		"credential files that are missing": {
			func(*registry) {}, func(_ *testing.T, o *Options) {
				o.Credentials = CredentialFiles("/nowhere/username", "/nowhere/password")
			},
			toldAs(report.AccessUnreadable, "username file: open /nowhere/username: no such file or directory"),
		},
		"nothing to check": {
			func(*registry) {}, func(_ *testing.T, o *Options) { o.CAFile = "" }, toldAs(report.AccessUnused, ""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t, tc.change)
			c := newClient(t, r.URL, func(o *Options) { tc.client(t, o) })
			checking(t, c)
			g.Eventually(func() bool { return len(r.requests()) > 0 || c.Access().State != report.AccessUnchecked }, soon, "10ms").Should(BeTrue())
			g.Eventually(c.Access, soon, "10ms").Should(tc.want)
			g.Expect(secretIn(c.Access().Message)).To(BeEmpty())
		})
	}
}

func right(_ *testing.T, o *Options) { o.Credentials = StaticCredentials(username, password) }
func wrong(_ *testing.T, o *Options) { o.Credentials = StaticCredentials(username, password+"-wrong") }

func TestAnUpstreamWithoutCredentialsAndCAIsNotChecked(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL, func(o *Options) { o.CAFile = "" })
	c.CheckAccess(t.Context()) // returns at once
	g.Expect(r.requests()).To(BeEmpty())
}

// TestRotatedCredentialsAreCheckedThoughNobodyPulls is about Basic and Bearer alike: the old password is good until the upstream
// has the new one, and the new file is read.
func TestRotatedCredentialsAreCheckedThoughNobodyPulls(t *testing.T) {
	for name, basic := range map[string]bool{"basic": true, "token": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			files := newSwapped(t, map[string]string{"username": username, "password": password})
			r := newRegistry(t, func(r *registry) { r.basic = basic })
			c := newClient(t, r.URL, func(o *Options) {
				o.Credentials = CredentialFiles(files.path("username"), files.path("password"))
			})
			checking(t, c)
			g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessAccepted, ""))

			files.write(t, map[string]string{"username": username, "password": password + "-typo"})
			g.Eventually(c.Access, soon, "10ms").Should(HaveField("State", report.AccessRejected))
			g.Expect(pull(t, c, publicBlob)).To(Equal(content), "a wrong password does not break public images")

			r.set(func() { r.password, r.issued = password+"-2", map[string]string{} })
			files.write(t, map[string]string{"username": username, "password": password + "-2"})
			g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessAccepted, ""))
			g.Expect(pull(t, c, secretBlob)).To(Equal(content))
		})
	}
}

func TestPullsTellOfCredentialsThatTheUpstreamRevoked(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.basic = true })
	c := newClient(t, r.URL, withCredentials(username, password))
	checking(t, c)
	g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessAccepted, ""))
	r.set(func() { r.password = password + "-2" })
	_, err := pull(t, c, secretBlob)
	g.Expect(err).To(ofKind(Unauthorized))
	g.Eventually(c.Access, soon, "10ms").Should(HaveField("State", report.AccessRejected))
	r.set(func() { r.password = password })
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Eventually(c.Access, soon, "10ms").Should(HaveField("State", report.AccessAccepted))
}

func TestWhatPullsTellCountsWhereEveryoneMayAskForTheRoot(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.open = true })
	c := newClient(t, r.URL, withCredentials(username, password))
	checking(t, c)
	g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessUnasked, ""))
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Expect(c.Access()).To(toldAs(report.AccessAccepted, ""))
	r.set(func() { r.password, r.issued = password+"-2", map[string]string{} })
	_, err := pull(t, c, "/v2/private/other/blobs/sha256:1")
	g.Expect(err).To(ofKind(Unauthorized))
	g.Expect(c.Access()).To(toldAs(report.AccessRejected, "upstream: unauthorized: asking for a token: 401 Unauthorized"))
}

// TestAnUpstreamThatGoesAwayLeavesWhatItSaid guards against a condition that comes and goes with the network.
func TestAnUpstreamThatGoesAwayLeavesWhatItSaid(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.basic = true })
	c := newClient(t, r.URL, withCredentials(username, password))
	checking(t, c)
	g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessAccepted, ""))
	r.set(func() { r.fail = http.StatusServiceUnavailable })
	before := r.count("GET /v2/")
	c.access.recheck()
	g.Eventually(func() int { return r.count("GET /v2/") }, soon, "10ms").Should(BeNumerically(">", before))
	g.Consistently(c.Access, "1s").Should(toldAs(report.AccessAccepted, ""))
}

func TestAChangedCAIsChecked(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(from string) {
		content, err := os.ReadFile(from)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	}
	write(newAuthority().file(t))
	c := newClient(t, r.URL, func(o *Options) { o.CAFile = file })
	checking(t, c)
	g.Eventually(c.Access, soon, "10ms").Should(HaveField("State", report.AccessUntrusted))
	write(defaultCA.file(t))
	g.Eventually(c.Access, soon, "10ms").Should(toldAs(report.AccessAccepted, ""))
}

func TestACheckIsBounded(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.hold = make(chan struct{}) })
	defer close(r.hold)
	c := newClient(t, r.URL, withCredentials(username, password))
	began := time.Now()
	g.Expect(c.checkAccess(t.Context(), c.credentials.current())).To(toldAs(report.AccessUnchecked, ""))
	g.Expect(time.Since(began)).To(BeNumerically("<", 8*time.Second))
}

func TestWhatIsToldLasts(t *testing.T) {
	text := "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z"
	NewWithT(t).Expect(strings.HasSuffix(lasting(text), "not yet valid")).To(BeTrue())
}
