package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/test/promtool"
)

var update = flag.Bool("update", false, "rewrite golden files")

// elected is the channel of a manager that reconciles.
func elected() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func reader(t *testing.T, objects ...client.Object) client.Reader {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
}

func gather(t *testing.T, c *metrics.Collector) []byte {
	g := NewWithT(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var text bytes.Buffer
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&text, f)
		g.Expect(err).NotTo(HaveOccurred())
	}
	return text.Bytes()
}

func cache(name string, mutate func(*v1alpha1.RegistryCache)) *v1alpha1.RegistryCache {
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}}
	rc.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io"}, {Upstream: "ghcr.io"}, {Upstream: "quay.io"}}
	mutate(rc)
	return rc
}

func TestCollectorTellsWhatTheStatusHas(t *testing.T) {
	g := NewWithT(t)
	ca, err := authority.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	g.Expect(err).NotTo(HaveOccurred())
	successor, err := authority.New(time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC))
	g.Expect(err).NotTo(HaveOccurred())
	known := cache("known", func(rc *v1alpha1.RegistryCache) {
		rc.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionFalse, Reason: "NotReady"},
			{Type: v1alpha1.NodesConfiguredCondition, Status: metav1.ConditionUnknown, Reason: v1alpha1.InternalErrorReason},
			{Type: v1alpha1.CachesAvailableCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.CachesAvailableReason},
		}
		rc.Status.Caches = []v1alpha1.CacheStatus{
			{Upstream: "docker.io", ReadyReplicas: new(int32(2)), InUse: v1alpha1.CacheInUse},
			{Upstream: "ghcr.io", ReadyReplicas: new(int32(0)), InUse: v1alpha1.CacheBypassed},
			{Upstream: "quay.io", InUse: v1alpha1.CacheNotUsed},
			{Upstream: "no-longer-wanted.example", ReadyReplicas: new(int32(1)), InUse: v1alpha1.CacheInUse},
		}
		rc.Status.Nodes = &v1alpha1.NodesStatus{Total: new(int32(5)), Configured: new(int32(3))}
		rc.Status.CABundle = authority.Bundle{ca.Certificate}.With(successor.Certificate).PEM()
	})
	fresh := cache("fresh", func(rc *v1alpha1.RegistryCache) { rc.Status.CABundle = []byte("no PEM") })
	ends := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	text := gather(t, &metrics.Collector{Reader: reader(t, known, fresh), Elected: elected(), Expiry: func(key client.ObjectKey) map[string]time.Time {
		return map[client.ObjectKey]map[string]time.Time{
			client.ObjectKeyFromObject(known): {"docker.io": ends, "no-longer-wanted.example": ends},
		}[key]
	}})
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		g.Expect(os.WriteFile(golden, text, 0o600)).To(Succeed())
	}
	want, err := os.ReadFile(golden)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(Equal(string(want)))
	g.Expect(promtool.CheckMetrics(t.Context(), text)).To(Succeed())
}

func TestCollectorHonoursTheWatchFilter(t *testing.T) {
	g := NewWithT(t)
	ours := cache("ours", func(rc *v1alpha1.RegistryCache) { rc.Labels = map[string]string{clusterv1.WatchLabel: "blue"} })
	others := cache("others", func(*v1alpha1.RegistryCache) {})
	c := &metrics.Collector{Reader: reader(t, ours, others), WatchFilter: "blue", Elected: elected(), Expiry: noExpiry}
	g.Expect(gather(t, c)).To(ContainSubstring(`name="ours"`))
	g.Expect(gather(t, c)).NotTo(ContainSubstring(`name="others"`))
	c.WatchFilter = ""
	g.Expect(gather(t, c)).To(ContainSubstring(`name="others"`))
}

func TestCollectorIsSilentUnlessTheManagerReconciles(t *testing.T) {
	g := NewWithT(t)
	waiting := make(chan struct{})
	c := &metrics.Collector{Reader: reader(t, cache("c", func(*v1alpha1.RegistryCache) {})), Elected: waiting, Expiry: noExpiry}
	g.Expect(gather(t, c)).To(BeEmpty())
	close(waiting)
	g.Expect(gather(t, c)).NotTo(BeEmpty())
}

// TestCollectorSpoilsNoOtherMetrics: an error of ours would keep Prometheus from all metrics of the manager.
func TestCollectorSpoilsNoOtherMetrics(t *testing.T) {
	NewWithT(t).Expect(gather(t, &metrics.Collector{Reader: failing{}, Elected: elected(), Expiry: noExpiry})).To(BeEmpty())
}

func TestRegisterReplacesTheCollectorBefore(t *testing.T) {
	g := NewWithT(t)
	for _, name := range []string{"first", "second"} {
		c := &metrics.Collector{Reader: reader(t, cache(name, func(*v1alpha1.RegistryCache) {})), Elected: elected(), Expiry: noExpiry}
		g.Expect(metrics.Register(c)).To(Succeed())
		t.Cleanup(func() { ctrlmetrics.Registry.Unregister(c) })
		g.Expect(names(g, "capi_registry_cache_caches")).To(ConsistOf(name, name), "ready and not_ready")
	}
}

// names are the RegistryCaches that a metric of the manager tells of.
func names(g *WithT, metric string) []string {
	families, err := ctrlmetrics.Registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if f.GetName() == metric && l.GetName() == "name" {
					found = append(found, l.GetValue())
				}
			}
		}
	}
	return found
}

func noExpiry(client.ObjectKey) map[string]time.Time { return nil }

type failing struct{ client.Reader }

func (failing) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("no cache")
}
