package counters

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// real are the metrics of this process, with those of a cache: names and types are not written here a second time.
func real(g *WithT) []byte {
	families, err := prometheus.DefaultGatherer.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var text bytes.Buffer
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&text, family)
		g.Expect(err).NotTo(HaveOccurred())
	}
	return text.Bytes()
}

func TestParseReadsWhatACacheCounts(t *testing.T) {
	g := NewWithT(t)
	before, started, err := Parse(real(g))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(started).To(BeTemporally("~", time.Now(), time.Minute))
	for metric, value := range map[*prometheus.CounterVec]float64{
		metrics.PushedBytes: 5000, metrics.PulledBytes: 1000, metrics.Requests: 10, metrics.Hits: 6, metrics.Coalesced: 2,
	} {
		metric.WithLabelValues(metrics.Blob).Add(value)
		metric.WithLabelValues(metrics.Manifest).Add(value / 10)
	}
	metrics.UpstreamRequests.WithLabelValues(http.MethodGet).Add(3)
	metrics.UpstreamRequests.WithLabelValues(http.MethodHead).Add(1)
	after, again, err := Parse(real(g))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(started))
	counts := after.Sub(before)
	g.Expect(counts).To(Equal(Counts{ServedBytes: 5500, FetchedBytes: 1100, Requests: 11, Hits: 7, Coalesced: 2, UpstreamRequests: new(int64(4))}))
	g.Expect(counts.SavedBytes()).To(BeEquivalentTo(4400))
	g.Expect(*counts.SavedRequests()).To(BeEquivalentTo(7))
	g.Expect(*counts.HitRatio()).To(BeNumerically("~", 9./11))
}

func TestParseSaysWhatIsMissing(t *testing.T) {
	for name, tc := range map[string]struct{ text, message string }{
		"nothing":          {"", "there is no registry_proxy_pushed_bytes_total"},
		"somebody else's":  {"go_threads 7\n", "among 1 metrics"},
		"no metrics":       {"<html>", "reading the metrics of a cache"},
		"a cut off answer": {"registry_proxy_pushed_bytes_total{type=\"blo", "reading the metrics of a cache"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse([]byte(tc.text))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.message)))
		})
	}
}

func TestAStockRegistryDoesNotTellWhatItAsksItsUpstream(t *testing.T) {
	g := NewWithT(t)
	counts, started, err := Parse([]byte(stock(100, 40)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(started.IsZero()).To(BeTrue())
	g.Expect(counts).To(Equal(Counts{ServedBytes: 100, FetchedBytes: 40}))
	g.Expect(counts.SavedRequests()).To(BeNil())
	g.Expect(counts.HitRatio()).To(BeNil())
	known := Counts{Requests: 1, UpstreamRequests: new(int64(1))}
	g.Expect(known.Add(counts).UpstreamRequests).To(BeNil(), "a sum that leaves something out would be wrong")
}

func TestASumDoesNotDependOnItsOrder(t *testing.T) {
	known, stock := Counts{Requests: 2, UpstreamRequests: new(int64(1))}, Counts{Requests: 3}
	for name, tc := range map[string]struct{ a, b, sum Counts }{
		"one that counted nothing":    {known, Counts{}, known},
		"one that knows less":         {known, stock, Counts{Requests: 5}},
		"two that know all":           {known, known, Counts{Requests: 4, UpstreamRequests: new(int64(2))}},
		"two that counted nothing":    {Counts{}, Counts{}, Counts{}},
		"one that knows of no demand": {known, Counts{UpstreamRequests: new(int64(0))}, known},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(tc.a.Add(tc.b)).To(Equal(tc.sum))
			g.Expect(tc.b.Add(tc.a)).To(Equal(tc.sum))
		})
	}
}

func stock(pushed, pulled int) string {
	return fmt.Sprintf("registry_proxy_pushed_bytes_total{type=\"blob\"} %d\nregistry_proxy_pulled_bytes_total{type=\"blob\"} %d\n", pushed, pulled)
}

// fakePods answer by the name of the Pod.
type fakePods map[string]string

func (f fakePods) Get(_ context.Context, pod client.ObjectKey, port int, path string) ([]byte, error) {
	answer, known := f[pod.Name]
	if !known || port != 5001 || path != "/metrics" || pod.Namespace != "kube-system" {
		return nil, fmt.Errorf("%s:%d%s does not answer", pod, port, path)
	}
	return []byte(answer), nil
}

func (fakePods) Certificates(context.Context, client.ObjectKey, int) ([]*x509.Certificate, error) {
	return nil, errors.New("not asked for")
}

func twoCaches() *v1alpha1.RegistryCache {
	rc := &v1alpha1.RegistryCache{}
	rc.Spec.Namespace = "kube-system"
	rc.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io", Replicas: new(int32(2))}, {Upstream: "quay.io"}}
	return rc
}

func since(seconds int) string { return fmt.Sprintf("process_start_time_seconds %d\n", seconds) }

func TestReadAddsUpAllReplicas(t *testing.T) {
	g := NewWithT(t)
	pods := fakePods{"registry-docker-io-0": stock(100, 40) + since(2000), "registry-docker-io-1": stock(10, 5) + since(1000), "registry-quay-io-0": stock(7, 7) + since(3000)}
	savings, err := Read(t.Context(), pods, twoCaches())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(savings.Total.SavedBytes()).To(BeEquivalentTo(65))
	g.Expect(savings.Caches).To(HaveLen(2))
	g.Expect(savings.Caches[0]).To(And(HaveField("Upstream", "docker.io"), HaveField("Pods", 2), HaveField("Answered", 2), HaveField("Counts.ServedBytes", BeEquivalentTo(110))))
	g.Expect(savings.Caches[0].Since.Time).To(BeTemporally("==", time.Unix(1000, 0)))

	delete(pods, "registry-docker-io-1")
	savings, err = Read(t.Context(), pods, twoCaches())
	g.Expect(err).To(MatchError(ContainSubstring("Pod kube-system/registry-docker-io-1")))
	g.Expect(savings.Total.SavedBytes()).To(BeEquivalentTo(60), "what is known is told")
	g.Expect(savings.Caches[0]).To(And(HaveField("Pods", 2), HaveField("Answered", 1)))
}

func TestBetweenTakesAllOfAProcessThatStartedMeanwhile(t *testing.T) {
	g := NewWithT(t)
	pods := fakePods{"registry-docker-io-0": stock(100, 40) + since(1), "registry-docker-io-1": stock(10, 5) + since(1), "registry-quay-io-0": stock(0, 0) + since(1)}
	earlier, err := Read(t.Context(), pods, twoCaches())
	g.Expect(err).NotTo(HaveOccurred())
	pods["registry-docker-io-0"] = stock(150, 50) + since(1)
	pods["registry-docker-io-1"] = stock(4, 1) + since(2)
	later, err := Read(t.Context(), pods, twoCaches())
	g.Expect(err).NotTo(HaveOccurred())
	at := time.Unix(5, 0)
	between := Between(earlier, later, at)
	g.Expect(between.Caches[0].Counts).To(Equal(Counts{ServedBytes: 54, FetchedBytes: 11}))
	g.Expect(between.Total).To(Equal(Counts{ServedBytes: 54, FetchedBytes: 11}))
	g.Expect(between.Caches[0].Since.Time).To(Equal(at))
}

func TestBetweenLeavesOutWhatAPodCountedBefore(t *testing.T) {
	g := NewWithT(t)
	pods := fakePods{"registry-docker-io-1": stock(10, 5) + since(1), "registry-quay-io-0": stock(0, 0) + since(1)}
	earlier, err := Read(t.Context(), pods, twoCaches())
	g.Expect(err).To(MatchError(ContainSubstring("registry-docker-io-0")))
	pods["registry-docker-io-0"], pods["registry-docker-io-1"] = stock(1000, 10)+since(1), stock(12, 6)+since(1)
	later, err := Read(t.Context(), pods, twoCaches())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Between(earlier, later, time.Unix(5, 0)).Caches[0]).To(And(HaveField("Counts", Counts{ServedBytes: 2, FetchedBytes: 1}), HaveField("Pods", 2), HaveField("Answered", 1)))

	pods["registry-docker-io-0"] = stock(1000, 10) + since(6)
	later, err = Read(t.Context(), pods, twoCaches())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Between(earlier, later, time.Unix(5, 0)).Caches[0]).To(And(HaveField("Counts", Counts{ServedBytes: 1002, FetchedBytes: 11}), HaveField("Answered", 2)))
}

// prometheusServer answers queries as Prometheus does, with a value for docker.io, and notes them.
func prometheusServer(t *testing.T, value string) (url string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.FormValue("query"))
		result := []any{map[string]any{"metric": map[string]string{"upstream": "docker.io"}, "value": []any{1700000000, value}}}
		if strings.Contains(r.FormValue("query"), upstreamRequests) {
			result = []any{}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestIncreaseAsksPrometheus(t *testing.T) {
	g := NewWithT(t)
	url, asked := prometheusServer(t, "99.6")
	now := time.Unix(1700000000, 0)
	savings, err := Prometheus{URL: url, Matchers: `cluster=~"c|"`}.Increase(t.Context(), twoCaches(), 24*time.Hour, now)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*asked).To(ContainElement(`sum by (upstream) (increase(registry_proxy_pushed_bytes_total{namespace="kube-system",cluster=~"c|"}[1d]))`))
	g.Expect(*asked).To(HaveLen(6))
	g.Expect(savings.Caches[0].Counts).To(Equal(Counts{ServedBytes: 100, FetchedBytes: 100, Requests: 100, Hits: 100, Coalesced: 100}))
	g.Expect(savings.Caches[1].Counts).To(Equal(Counts{}))
	g.Expect(savings.Caches[0].Since.Time).To(BeTemporally("==", now.Add(-24*time.Hour)))
}

func TestIncreaseSaysThatPrometheusKnowsNothing(t *testing.T) {
	g := NewWithT(t)
	url, _ := prometheusServer(t, "1")
	rc := twoCaches()
	rc.Spec.Caches = rc.Spec.Caches[1:]
	_, err := Prometheus{URL: url}.Increase(t.Context(), rc, time.Hour, time.Now())
	g.Expect(err).To(MatchError(ContainSubstring("is it scraping this Cluster")))
	for _, secret := range []string{strings.Replace(url, "//", "//user:hidden@", 1), "http://user:hidden@[", "http://user:hidden@127.0.0.1:1"} {
		_, err = Prometheus{URL: secret}.Increase(t.Context(), rc, time.Hour, time.Now())
		g.Expect(err).To(MatchError(Not(ContainSubstring("hidden"))))
	}
	_, err = Prometheus{URL: "http://127.0.0.1:1"}.Increase(t.Context(), rc, time.Hour, time.Now())
	g.Expect(err).To(MatchError(ContainSubstring("asking Prometheus for sum by")))
}
