package upstream

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

func TestTokensAreFetchedOnceForEachRepositoryAndAheadOfTheChallenge(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL, withCredentials(username, password))

	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Expect(r.requests()).To(Equal([]string{
		"GET " + secretBlob, "GET /token Basic", "GET " + secretBlob + " Bearer",
	}))

	hold := make(chan struct{})
	r.set(func() { r.hold = hold })
	const other = "/v2/private/with/slashes/manifests/latest"
	var pulls sync.WaitGroup
	for range 20 {
		pulls.Go(func() {
			if got, err := pull(t, c, other); err != nil || got != content {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	key := tokenKey{realm: r.URL + "/token", service: "registry", scope: "repository:private/with/slashes:pull", generation: 1}
	g.Eventually(func() bool { // some wait, and the rest will find the token
		c.tokens.mu.Lock()
		defer c.tokens.mu.Unlock()
		return c.tokens.flights[key] != nil
	}).Should(BeTrue())
	close(hold)
	pulls.Wait()
	g.Expect(r.count("GET /token")).To(Equal(2))
	g.Expect(r.count("GET "+other)).To(Equal(20), "nobody was sent away with a challenge")
	g.Expect(r.count("GET " + other + " Bearer")).To(Equal(20))
}

func TestATokenThatWaitsForItsCallerOutlivesHim(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL)
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))

	hold := make(chan struct{})
	r.set(func() { r.hold = hold })
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := c.Do(ctx, http.MethodGet, "/v2/public/b/manifests/1", nil) //nolint:bodyclose // there is none
		failed <- err
	}()
	g.Eventually(func() int {
		c.tokens.mu.Lock()
		defer c.tokens.mu.Unlock()
		return len(c.tokens.flights)
	}).Should(Equal(1))
	cancel()
	g.Expect(<-failed).To(MatchError(context.Canceled))
	close(hold)
	g.Expect(pull(t, c, "/v2/public/b/manifests/1")).To(Equal(content))
	g.Expect(r.count("GET /token")).To(Equal(2))
}

func TestATokenIsReplacedBeforeItExpires(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.expiresIn = 1 })
	c := newClient(t, r.URL)
	g.Eventually(func(g Gomega) {
		g.Expect(pull(t, c, publicBlob)).To(Equal(content))
		g.Expect(r.count("GET /token")).To(BeNumerically(">=", 3))
	}, "20s", "50ms").Should(Succeed())
	g.Expect(r.count("GET "+publicBlob)).To(Equal(r.count("GET "+publicBlob+" Bearer")+1), "one challenge in all")
}

func TestATokenThatTheUpstreamForgotIsReplaced(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL)
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
	r.set(func() { clear(r.issued) })
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
	g.Expect(r.count("GET /token")).To(Equal(2))
}

func TestAnUpstreamThatRefusesFreshTokensIsNotAskedAgainAndAgain(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL)
	_, err := pull(t, c, secretBlob)
	g.Expect(err).To(ofKind(Unauthorized))
	g.Expect(as(err).Status).To(Equal(http.StatusUnauthorized))
	g.Expect(r.requests()).To(Equal([]string{"GET " + secretBlob, "GET /token", "GET " + secretBlob + " Bearer"}))
	g.Expect(c.Available()).To(Succeed(), "401 is an answer")
}

func TestBasicAuthentication(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.basic = true })
	c := newClient(t, r.URL, withCredentials(username, password))
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Expect(pull(t, c, "/v2/private/b/manifests/1")).To(Equal(content))
	g.Expect(r.requests()).To(Equal([]string{
		"GET " + secretBlob, "GET " + secretBlob + " Basic", "GET /v2/private/b/manifests/1 Basic",
	}))
	_, err := pull(t, newClient(t, r.URL), secretBlob)
	g.Expect(err).To(ofKind(Unauthorized))
}

func TestAnIdentityTokenIsSentAsAForm(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	c := newClient(t, r.URL, withCredentials(identityToken, password))
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Expect(r.count("POST /token")).To(Equal(1))
	g.Expect(r.count("GET /token")).To(Equal(0))
}

func TestWrongCredentialsFallBackToWhatIsForEveryone(t *testing.T) {
	for name, basic := range map[string]bool{"tokens": false, "basic authentication": true} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t, func(r *registry) { r.basic = basic })
			c := newClient(t, r.URL, withCredentials(username, "wrong"))
			rejected := func() float64 { return testutil.ToFloat64(metrics.CredentialsRejected.WithLabelValues()) }
			before, lines := rejected(), len(logged.AllEntries())

			if basic { // public images ask for nothing until the client knows that it may
				_, err := pull(t, c, secretBlob)
				g.Expect(err).To(ofKind(Unauthorized))
			}
			g.Expect(pull(t, c, publicBlob)).To(Equal(content))
			g.Expect(pull(t, c, publicBlob)).To(Equal(content))
			g.Expect(rejected() - before).To(Equal(2.))
			g.Expect(logged.AllEntries()).To(HaveLen(lines+1), "one line a minute")
			if !basic {
				g.Expect(r.count("GET /token Basic")).To(Equal(1), "token servers lock who comes again and again")
			}

			_, err := pull(t, c, secretBlob)
			g.Expect(err).To(ofKind(Unauthorized))
			g.Expect(as(err).Status).To(Equal(http.StatusUnauthorized))
			g.Expect(rejected() - before).To(Equal(2.))
			g.Expect(c.Available()).To(Succeed())
		})
	}
}

func TestWhatAnonymousClientsAreToldDoesNotHideThatCredentialsAreRefused(t *testing.T) {
	for name, anonymous := range map[string]int{"not found": 404, "denied": 403, "unauthorized": 401} {
		t.Run(name, func(t *testing.T) {
			server := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
				if _, _, given := r.BasicAuth(); given {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				if r.URL.Path == "/v2/first/manifests/1" {
					w.Header().Set("WWW-Authenticate", "Basic")
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				w.WriteHeader(anonymous)
			})
			c := newClient(t, server.URL, withCredentials(username, password))
			_, err := pull(t, c, "/v2/first/manifests/1")
			NewWithT(t).Expect(err).To(ofKind(Denied))
			_, err = pull(t, c, publicBlob)
			NewWithT(t).Expect(err).To(ofKind(Denied))
		})
	}
}

func TestATokenServerThatFailsIsTheUpstreamFailing(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) {
		r.failToken = http.StatusTooManyRequests
		r.header.Set("Retry-After", "60")
	})
	c := newClient(t, r.URL)
	_, err := pull(t, c, publicBlob)
	g.Expect(err).To(ofKind(RateLimited))
	g.Expect(c.Available()).To(ofKind(RateLimited))

	r.set(func() { r.failToken = http.StatusInternalServerError })
	c = newClient(t, r.URL)
	for range 3 {
		_, err = pull(t, c, publicBlob)
		g.Expect(err).To(ofKind(ServerError))
	}
	g.Expect(c.Available()).To(ofKind(Open))
}

func TestATokenThatTookThePlaceOfARefusedOneStays(t *testing.T) {
	g := NewWithT(t)
	held := newTokens()
	get := func(value string) (string, error) {
		return held.get(context.Background(), tokenKey{}, func(context.Context) token {
			return token{value: value, until: time.Now().Add(time.Hour)}
		})
	}
	g.Expect(get("first")).To(Equal("first"))
	held.drop(tokenKey{}, "first")
	g.Expect(get("second")).To(Equal("second"))
	held.drop(tokenKey{}, "first") // by another request, which was slower
	g.Expect(get("third")).To(Equal("second"))
}

func TestTheLifeOfATokenIsBounded(t *testing.T) {
	g := NewWithT(t)
	g.Expect(tokenLife(0)).To(Equal(time.Minute))
	g.Expect(tokenLife(-1)).To(Equal(time.Minute))
	g.Expect(tokenLife(300)).To(Equal(5 * time.Minute))
	g.Expect(tokenLife(1 << 62)).To(Equal(24 * time.Hour))
}

func TestTheNumberOfTokensIsBounded(t *testing.T) {
	g := NewWithT(t)
	held := newTokens()
	for i := range uint64(maxTokens + 10) {
		_, err := held.get(context.Background(), tokenKey{generation: i}, func(context.Context) token {
			return token{until: time.Now().Add(time.Hour)}
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(len(held.held)).To(BeNumerically("<=", maxTokens))
}
