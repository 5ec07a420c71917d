package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// TestAnUpstreamThatDoesNotAnswerOpensTheBreakerAtOnce is about whatever makes clients wait.
func TestAnUpstreamThatDoesNotAnswerOpensTheBreakerAtOnce(t *testing.T) {
	tests := map[string]struct {
		address func(*testing.T) string
		kind    Kind
	}{
		"no connection":         {func(t *testing.T) string { return "http://" + unanswered(t) }, Timeout},
		"no headers":            {func(t *testing.T) string { return "http://" + listen(t, silent) }, Timeout},
		"no TLS handshake":      {func(t *testing.T) string { return "https://" + listen(t, silent) }, Timeout},
		"no frame of HTTP/2":    {silentHTTP2, Timeout},
		"no name":               {func(*testing.T) string { return "https://registry.invalid" }, DNS},
		"no token":              {silentTokenServer, Timeout},
		"no host to redirect":   {silentCDN, Timeout},
		"no end of the headers": {endlessHeaders, Timeout},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			c := newClient(t, test.address(t))
			started := time.Now()
			_, err := pull(t, c, publicBlob)
			g.Expect(err).To(ofKind(test.kind))
			g.Expect(time.Since(started)).To(BeNumerically("<", 10*time.Second))
			g.Expect(c.Available()).To(ofKind(Open))

			started = time.Now()
			for range 100 {
				_, err = pull(t, c, publicBlob)
				g.Expect(err).To(ofKind(Open))
			}
			g.Expect(time.Since(started)).To(BeNumerically("<", time.Second))
		})
	}
}

// silentHTTP2 negotiates HTTP/2 and says nothing more.
func silentHTTP2(t *testing.T) string {
	certificate := defaultCA.issue(t)
	return "https://" + listen(t, func(connection net.Conn) {
		silent(tls.Server(connection, &tls.Config{
			Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		}))
	})
}

func silentTokenServer(t *testing.T) string {
	realm := "http://" + listen(t, silent)
	return servePlain(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	}).URL
}

func silentCDN(t *testing.T) string {
	return servePlain(t, http.RedirectHandler("http://"+listen(t, silent)+"/x?"+querySign, http.StatusFound).ServeHTTP).URL
}

// endlessHeaders sends a byte now and then, but never an answer.
func endlessHeaders(t *testing.T) string {
	return "http://" + listen(t, func(connection net.Conn) {
		if _, err := connection.Read(make([]byte, 4096)); err != nil {
			return
		}
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nA: ")
		for range ticker.C {
			if _, err := io.WriteString(connection, "a"); err != nil {
				return
			}
		}
	})
}

func TestAnUpstreamThatRefusesOpensTheBreakerAfterThreeFailures(t *testing.T) {
	other := newAuthority()
	tests := map[string]struct {
		address func(*testing.T) string
		kind    Kind
	}{
		"refused": {func(t *testing.T) string { return "http://" + refusedAddress(t) }, Refused},
		"closed":  {func(t *testing.T) string { return "http://" + listen(t, func(c net.Conn) { _ = c.Close() }) }, Reset},
		"not trusted": {func(t *testing.T) string {
			return serveTLS(t, other, http.NotFoundHandler()).URL
		}, TLS},
		"no TLS": {func(t *testing.T) string {
			return strings.Replace(servePlain(t, http.NotFound).URL, "http:", "https:", 1)
		}, TLS},
		"500": {func(t *testing.T) string { return newRegistry(t, func(r *registry) { r.fail = 500 }).URL }, ServerError},
		"503": {func(t *testing.T) string { return newRegistry(t, func(r *registry) { r.fail = 503 }).URL }, ServerError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newClient(t, test.address(t))
			counted := func() float64 { return testutil.ToFloat64(metrics.UpstreamErrors.WithLabelValues(string(test.kind))) }
			before := counted()
			for range 3 {
				g.Expect(c.Available()).To(Succeed())
				_, err := pull(t, c, publicBlob)
				g.Expect(err).To(ofKind(test.kind))
			}
			g.Expect(c.Available()).To(ofKind(Open))
			_, err := pull(t, c, publicBlob)
			g.Expect(err).To(ofKind(Open))
			g.Expect(counted() - before).To(Equal(3.))
			g.Expect(testutil.ToFloat64(metrics.BreakerOpen)).To(Equal(1.))
		})
	}
}

func TestRunClosesTheBreakerOnceTheUpstreamAnswers(t *testing.T) {
	for name, status := range map[string]int{"as it should": 0, "with 429": http.StatusTooManyRequests, "with 404": http.StatusNotFound} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := newRegistry(t, func(r *registry) { r.fail = http.StatusBadGateway })
			c := newClient(t, r.URL)
			for range 3 {
				_, err := pull(t, c, publicBlob)
				g.Expect(err).To(ofKind(ServerError))
			}
			running(t, c)
			g.Eventually(func() int { return r.count("GET /v2/ ") + r.count("GET /v2/") }, soon).Should(BeNumerically(">", 3), "it is probed")
			g.Expect(c.Available()).To(ofKind(Open))
			r.set(func() { r.fail = status })
			g.Eventually(c.Available, soon).ShouldNot(ofKind(Open))
			if status == http.StatusTooManyRequests {
				g.Expect(c.Available()).To(ofKind(RateLimited))
				return
			}
			r.set(func() { r.fail = 0 })
			g.Expect(pull(t, c, publicBlob)).To(Equal(content))
		})
	}
}

func TestADeadConnectionIsNotProbed(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	relay := newRelay(t, r.Listener.Addr().String())
	c := newClient(t, "https://"+relay.address)
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
	relay.forget() // like a router that restarted
	running(t, c)
	_, err := pull(t, c, publicBlob)
	g.Expect(err).To(ofKind(Timeout))
	g.Eventually(c.Available, "8s").Should(Succeed(), "long before HTTP/2 finds out")
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
}

func TestCallersThatLeaveNeverOpenTheBreaker(t *testing.T) {
	g := NewWithT(t)
	held := make(chan struct{}, 100)
	server := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
		}
		held <- struct{}{}
		<-r.Context().Done()
	}))
	c := newClient(t, server.URL, func(o *Options) { o.ResponseHeaderTimeout, o.StallTimeout = time.Minute, time.Minute })
	before := testutil.ToFloat64(metrics.UpstreamErrors.WithLabelValues(string(Other)))
	for range 5 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-held
			cancel()
		}()
		_, err := c.Do(ctx, http.MethodGet, "/v2/a/manifests/1", nil) //nolint:bodyclose // there is none
		g.Expect(checked(t, err)).To(And(MatchError(context.Canceled), ofKind(Other)))

		ctx, cancel = context.WithCancel(context.Background())
		response, err := c.Do(ctx, http.MethodGet, publicBlob, nil)
		g.Expect(err).NotTo(HaveOccurred())
		<-held
		cancel()
		_, err = io.ReadAll(response.Body)
		g.Expect(checked(t, err)).To(And(MatchError(context.Canceled), ofKind(Other)))
		g.Expect(response.Body.Close()).To(Succeed())

		_, err = c.Do(ctx, http.MethodGet, publicBlob, nil) //nolint:bodyclose // there is none
		g.Expect(checked(t, err)).To(MatchError(context.Canceled))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, http.MethodGet, "/v2/a/manifests/1", nil) //nolint:bodyclose // there is none
	g.Expect(checked(t, err)).To(MatchError(context.DeadlineExceeded))
	g.Expect(c.Available()).To(Succeed())
	g.Expect(testutil.ToFloat64(metrics.UpstreamErrors.WithLabelValues(string(Other)))).To(Equal(before))
}
