package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// readTimeout bounds the wait for a cache that is not filled yet.
const readTimeout = 5 * time.Second

var (
	condition       = describe("condition", "1 for the status that a condition of a RegistryCache has, and for its reason (docs/conditions.md).", "type", "status", "reason")
	caches          = describe("caches", "Caches of a RegistryCache by whether they have a ready replica: ready or not_ready.", "state")
	nodes           = describe("nodes", "Nodes of a Cluster that could use its caches. Missing before they report, and with spec.nodes.existing Ignore.")
	nodesConfigured = describe("nodes_configured", "Nodes of a Cluster that have taken over the desired state. Missing where capi_registry_cache_nodes is.")
	used            = describe("in_use", "1 while nodes pull through a cache, 0 while they pull around it or are not configured. Missing while that is not known.", "upstream")
	leafExpiry      = describe("certificate_expiry_timestamp_seconds", "When the certificate of a cache ends. Missing until the manager has looked at it since it started.", "upstream")
	authorityExpiry = describe("authority_expiry_timestamp_seconds", "When the first of the certificate authorities ends that nodes of a Cluster trust for its caches; there are two while one is replaced.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("capi_registry_cache_"+name, help, append([]string{"namespace", "name"}, labels...), nil)
}

// Collector tells of RegistryCaches. All its metrics are gauges.
type Collector struct {
	// Reader reads from the cache of the manager, which limits it to the namespaces that are watched.
	Reader client.Reader
	// WatchFilter, if set, limits it to objects with this value of CAPI's watch label.
	WatchFilter string
	// Elected is closed when this manager is the one that reconciles.
	Elected <-chan struct{}
	// Expiry is when the certificates of the caches of a RegistryCache end, by upstream.
	Expiry func(client.ObjectKey) map[string]time.Time
}

// Register registers a collector with the manager's metrics, in place of the one before: a process has one list of metrics.
func Register(c *Collector) error {
	ctrlmetrics.Registry.Unregister(c)
	return ctrlmetrics.Registry.Register(c)
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{condition, caches, nodes, nodesConfigured, used, leafExpiry, authorityExpiry} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	select {
	case <-c.Elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	list, options := &v1alpha1.RegistryCacheList{}, []client.ListOption{client.UnsafeDisableDeepCopy} // they are only read
	if c.WatchFilter != "" {
		options = append(options, client.MatchingLabels{clusterv1.WatchLabel: c.WatchFilter})
	}
	if err := c.Reader.List(ctx, list, options...); err != nil {
		klog.Background().Error(err, "RegistryCaches could not be listed for metrics")
		return
	}
	for i := range list.Items {
		about{&list.Items[i], to}.tell(c.Expiry(client.ObjectKeyFromObject(&list.Items[i])))
	}
}

// about is a RegistryCache, and where its metrics go.
type about struct {
	*v1alpha1.RegistryCache
	to chan<- prometheus.Metric
}

func (a about) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	a.to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{a.Namespace, a.Name}, labels...)...)
}

func (a about) tell(certificates map[string]time.Time) {
	for _, c := range a.Status.Conditions {
		if knownStatus(c.Status) {
			a.gauge(condition, 1, c.Type, string(c.Status), c.Reason)
		}
	}
	a.tellCaches(certificates)
	if n := a.Status.Nodes; n != nil && n.Total != nil && n.Configured != nil {
		a.gauge(nodes, float64(*n.Total))
		a.gauge(nodesConfigured, float64(*n.Configured))
	}
	if ends, ok := authorityEnd(a.Status.CABundle); ok {
		a.gauge(authorityExpiry, seconds(ends))
	}
}

func (a about) tellCaches(certificates map[string]time.Time) {
	status := map[string]v1alpha1.CacheStatus{}
	for _, s := range a.Status.Caches {
		status[s.Upstream] = s
	}
	ready := 0
	for _, cache := range a.Spec.Caches {
		s := status[cache.Upstream]
		if s.ReadyReplicas != nil && *s.ReadyReplicas > 0 {
			ready++
		}
		if value, known := inUse(s); known {
			a.gauge(used, value, cache.Upstream)
		}
		if ends, known := certificates[cache.Upstream]; known {
			a.gauge(leafExpiry, seconds(ends), cache.Upstream)
		}
	}
	a.gauge(caches, float64(ready), "ready")
	a.gauge(caches, float64(len(a.Spec.Caches)-ready), "not_ready")
}

func knownStatus(status metav1.ConditionStatus) bool {
	return status == metav1.ConditionTrue || status == metav1.ConditionFalse || status == metav1.ConditionUnknown
}

func seconds(t time.Time) float64 { return float64(t.Unix()) }
