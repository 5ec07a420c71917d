package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

func TestEveryStatusHasItsKind(t *testing.T) {
	for status, kind := range map[int]Kind{
		http.StatusNotFound: NotFound, http.StatusUnauthorized: Unauthorized, http.StatusForbidden: Denied,
		http.StatusTooManyRequests: RateLimited, http.StatusInternalServerError: ServerError,
		http.StatusGatewayTimeout: ServerError, http.StatusBadRequest: Other, http.StatusNotModified: Other,
		http.StatusRequestedRangeNotSatisfiable: Other, http.StatusMultipleChoices: Other,
	} {
		g := NewWithT(t)
		r := newRegistry(t, func(r *registry) { r.fail = status })
		_, err := pull(t, newClient(t, r.URL), publicBlob+"?"+querySign)
		g.Expect(err).To(ofKind(kind), "%d", status)
		g.Expect(as(err).Status).To(Equal(status))
		g.Expect(err).To(MatchError(And(ContainSubstring(publicBlob), ContainSubstring(http.StatusText(status)))))
	}
}

func TestAnswersWithContentAreReturnedAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	server := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip") // of the layer, not of the transfer
		w.Header().Set("Content-Length", "18")
		w.Header().Set("X-Query", r.URL.RawQuery)
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 5-22/23")
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, content)
	}))
	c := newClient(t, server.URL)
	requests := func(method string) float64 {
		return testutil.ToFloat64(metrics.UpstreamRequests.WithLabelValues(method))
	}
	gets, heads := requests(http.MethodGet), requests(http.MethodHead)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		response, err := c.Do(context.Background(), method, publicBlob+"?n=1", http.Header{"Range": {"bytes=5-"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(response.StatusCode).To(Equal(http.StatusPartialContent))
		g.Expect(response.ContentLength).To(Equal(int64(18)))
		g.Expect(response.Header.Get("X-Query")).To(Equal("n=1"))
		got, err := io.ReadAll(response.Body)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(HaveLen(map[string]int{http.MethodGet: 18}[method]))
		g.Expect(response.Body.Close()).To(Succeed())
		g.Expect(response.Body.Close()).To(Succeed())
	}
	g.Expect(requests(http.MethodGet) - gets).To(Equal(1.))
	g.Expect(requests(http.MethodHead) - heads).To(Equal(1.))
}

func TestAnUpstreamThatAnswers429IsNotAskedForAsLongAsItSays(t *testing.T) {
	date := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	for name, test := range map[string]struct {
		value  string
		lowest time.Duration
		most   time.Duration
	}{
		"seconds":    {"60", 50 * time.Second, time.Minute},
		"a date":     {date, 50 * time.Second, time.Minute},
		"nothing":    {"", 5 * time.Second, 10 * time.Second},
		"a year":     {"31536000", 4 * time.Minute, 5 * time.Minute},
		"the future": {"99999999999999999999", 4 * time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t, func(r *registry) {
				r.fail = http.StatusTooManyRequests
				r.header.Set("Retry-After", test.value)
			})
			c := newClient(t, r.URL)
			for range 3 {
				_, err := pull(t, c, publicBlob)
				g.Expect(err).To(ofKind(RateLimited))
				g.Expect(as(err).RetryAfter).To(And(
					BeNumerically(">", test.lowest), BeNumerically("<=", test.most)))
			}
			g.Expect(c.Available()).To(ofKind(RateLimited))
			g.Expect(r.requests()).To(HaveLen(1))
			until := testutil.ToFloat64(metrics.RateLimitedUntil)
			g.Expect(until).To(BeNumerically("~", float64(time.Now().Add(test.most).Unix()), 15))
		})
	}
}

func TestARateLimitEnds(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) {
		r.fail = http.StatusTooManyRequests
		r.header.Set("Retry-After", "0")
	})
	c := newClient(t, r.URL)
	_, err := pull(t, c, publicBlob)
	g.Expect(err).To(ofKind(RateLimited))
	r.set(func() { r.fail = 0 })
	g.Eventually(c.Available, soon).Should(Succeed())
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
}

func TestConnectionsAreUsedAgainAfterFailedAnswers(t *testing.T) {
	g := NewWithT(t)
	var mu sync.Mutex
	addresses := map[string]bool{}
	server := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		addresses[r.RemoteAddr] = true
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, strings.Repeat("no ", 10_000))
	})
	c := newClient(t, server.URL)
	for range 10 {
		_, err := pull(t, c, publicBlob)
		g.Expect(err).To(ofKind(NotFound))
	}
	g.Expect(addresses).To(HaveLen(1))
}

func TestAFailedAnswerWithoutAnEndHoldsNobodyUp(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, http.HandlerFunc) string{
		"HTTP/1": func(t *testing.T, h http.HandlerFunc) string { return servePlain(t, h).URL },
		"HTTP/2": func(t *testing.T, h http.HandlerFunc) string { return serveTLS(t, defaultCA, h).URL },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}), func(o *Options) { o.StallTimeout = time.Hour })
			started := time.Now()
			_, err := pull(t, c, publicBlob)
			g.Expect(err).To(ofKind(NotFound))
			g.Expect(time.Since(started)).To(BeNumerically("<", 15*time.Second))
		})
	}
}

// TestErrorsHoldNoSecrets goes where net/http would quote a URL or a header; pull looks at the text.
func TestErrorsHoldNoSecrets(t *testing.T) {
	away := "http://" + refusedAddress(t)
	for name, location := range map[string]string{
		"a redirect to nowhere":         away + "/blob?" + querySign,
		"a redirect that is no URL":     "http://a b/%zz?" + querySign,
		"a redirect with a bad port":    "http://host:port/?" + querySign,
		"a redirect with a password":    strings.Replace(away, "http://", "http://user:"+password+"@", 1) + "/?" + querySign,
		"a redirect to another scheme":  "ftp://host/?" + querySign,
		"a redirect that goes nowhere":  "",
		"a redirect within the upgrade": "https://" + strings.TrimPrefix(away, "http://") + "/?" + querySign,
	} {
		t.Run(name, func(t *testing.T) {
			server := servePlain(t, func(w http.ResponseWriter, _ *http.Request) {
				if location != "" {
					w.Header().Set("Location", location)
				}
				w.WriteHeader(http.StatusFound)
			})
			_, err := pull(t, newClient(t, server.URL), publicBlob+"?"+querySign)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
	for name, answer := range map[string]string{
		"an answer that echoes":            "HTTP/1.1 " + tokenWord + "?" + querySign + "\r\n\r\n",
		"an answer of another protocol":    tokenWord + "\r\n\r\n",
		"a header that echoes":             "HTTP/1.1 200 OK\r\n" + tokenWord + " " + querySign + "\r\n\r\n",
		"a length that is not one":         "HTTP/1.1 200 OK\r\nContent-Length: " + tokenWord + "\r\n\r\n",
		"an encoding that is not known":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + tokenWord + "\r\n\r\n",
		"a realm that is not a URL":        "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"http://a b?" + querySign + "\"\r\nContent-Length: 0\r\n\r\n",
		"a realm where nobody is":          "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"" + away + "/token?" + querySign + "\"\r\nContent-Length: 0\r\n\r\n",
		"a realm that answers as it likes": "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"/token\"\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := listen(t, answering(answer))
			_, err := pull(t, newClient(t, "http://"+address, withCredentials(username, password)), publicBlob+"?"+querySign)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
	for name, answer := range map[string]string{
		"no JSON":               tokenWord,
		"no token":              `{}`,
		"a number":              `{"token":1}`,
		"a date that is none":   `{"token":"x","issued_at":"` + tokenWord + `"}`,
		"a token of two lines":  `{"token":"` + tokenWord + `\r\nb"}`,
		"a token with controls": `{"token":"` + tokenWord + `\u0000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			realm := servePlain(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
			r := newRegistry(t, func(r *registry) { r.realm = realm.URL + "/token?" + querySign })
			_, err := pull(t, newClient(t, r.URL), publicBlob)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}
