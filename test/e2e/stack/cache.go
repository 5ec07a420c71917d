package stack

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// Cache is a pull-through cache in a workload cluster.
type Cache struct {
	v1alpha1.CacheStatus
	// Namespace is where it lives.
	Namespace string

	cluster *Cluster
}

// Cache finds the cache of an upstream.
func (c *Cluster) Cache(ctx context.Context, u *Upstream) (Cache, error) {
	rc := &v1alpha1.RegistryCache{}
	if err := c.stack.Client.Get(ctx, c.Key(), rc); err != nil {
		return Cache{}, fmt.Errorf("reading the RegistryCache of %s: %w", c.Name, err)
	}
	for _, status := range rc.Status.Caches {
		if status.Upstream == u.Host() {
			return Cache{CacheStatus: status, Namespace: rc.Spec.Namespace, cluster: c}, nil
		}
	}
	return Cache{}, fmt.Errorf("status.caches of %s has no entry for %s: %+v", c.Name, u.Host(), rc.Status.Caches)
}

// DeleteService deletes the address at which nodes reach the cache.
func (c Cache) DeleteService(ctx context.Context) error {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.ServiceName}}
	if err := c.cluster.Client.Delete(ctx, service); err != nil {
		return fmt.Errorf("deleting the Service of the cache: %w", err)
	}
	return nil
}

// Counters are hits and misses that the cache counted since it started, asked from a node.
func (c Cache) Counters(ctx context.Context, n Node) (string, error) {
	metrics, err := c.metrics(ctx, n)
	return counters(metrics), err
}

// Requests is how many requests of whatever kind the cache counted since it started, asked from a node.
func (c Cache) Requests(ctx context.Context, n Node) (int, error) {
	metrics, err := c.metrics(ctx, n)
	return requests(metrics), err
}

func (c Cache) metrics(ctx context.Context, n Node) (string, error) {
	pods := &corev1.PodList{}
	if err := c.cluster.Client.List(ctx, pods, client.InNamespace(c.Namespace), client.MatchingLabels{v1alpha1.InstanceLabel: c.ServiceName}); err != nil {
		return "", fmt.Errorf("listing the Pods of the cache: %w", err)
	}
	if len(pods.Items) == 0 {
		return "", fmt.Errorf("the cache of %s has no Pod", c.Upstream)
	}
	return n.Exec(ctx, "curl", "--silent", "--fail", "--max-time", "5", "http://"+pods.Items[0].Status.PodIP+":5001/metrics")
}

// requests adds up the values of registry_http_requests_total.
func requests(metrics string) int {
	sum := 0.0
	for line := range strings.Lines(metrics) {
		var value float64
		if labelled, ok := strings.CutPrefix(line, "registry_http_requests_total{"); ok {
			_, text, _ := strings.Cut(labelled, "} ")
			_, _ = fmt.Sscan(text, &value)
			sum += value
		}
	}
	return int(sum)
}

// counters picks the values of registry_proxy_hits_total and registry_proxy_misses_total.
func counters(metrics string) string {
	var picked []string
	for _, line := range strings.Split(metrics, "\n") {
		for _, metric := range []string{"hits", "misses"} {
			rest, ok := strings.CutPrefix(line, "registry_proxy_"+metric+"_total{")
			if !ok {
				continue
			}
			labels, value, _ := strings.Cut(rest, "} ")
			_, kind, _ := strings.Cut(labels, `type="`)
			kind, _, _ = strings.Cut(kind, `"`)
			picked = append(picked, fmt.Sprintf("%s %s %s", kind, metric, value))
		}
	}
	return strings.Join(picked, ", ")
}
