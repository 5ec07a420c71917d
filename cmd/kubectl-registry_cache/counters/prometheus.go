package counters

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheusv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// upstreamLabel is the target label by which the caches in Prometheus are told apart (docs/kubectl.md).
const upstreamLabel = "upstream"

// Prometheus is one that scrapes the caches of a Cluster.
type Prometheus struct {
	// URL is where it answers.
	URL string
	// Matchers select the Cluster among all that it scrapes, as they stand between braces.
	Matchers string
}

// Increase is what the caches of a RegistryCache counted in the time before now. Prometheus knows counters when it scraped, and takes the
// growth between the first and the last look for that of the whole time, so the numbers are not exact.
func (p Prometheus) Increase(ctx context.Context, rc *v1alpha1.RegistryCache, since time.Duration, now time.Time) (Savings, error) {
	address, err := url.Parse(p.URL)
	if err != nil { // which the error would repeat, with a password
		return Savings{}, errors.New("--prometheus: not a URL; accepted are values such as http://localhost:9090")
	}
	connection, err := api.NewClient(api.Config{Address: p.URL})
	if err != nil {
		return Savings{}, fmt.Errorf("reaching Prometheus: %w", err)
	}
	counts := map[string]*Counts{}
	for _, spec := range rc.Spec.Caches {
		counts[spec.Upstream] = &Counts{}
	}
	known := 0
	for metric, field := range map[string]func(*Counts) *int64{
		pushedBytes:      func(c *Counts) *int64 { return &c.ServedBytes },
		pulledBytes:      func(c *Counts) *int64 { return &c.FetchedBytes },
		requests:         func(c *Counts) *int64 { return &c.Requests },
		hits:             func(c *Counts) *int64 { return &c.Hits },
		coalesced:        func(c *Counts) *int64 { return &c.Coalesced },
		upstreamRequests: func(c *Counts) *int64 { c.UpstreamRequests = new(int64); return c.UpstreamRequests },
	} {
		vector, err := query(ctx, prometheusv1.NewAPI(connection), p.query(metric, rc.Spec.Namespace, since), now)
		if err != nil {
			return Savings{}, err
		}
		for _, sample := range vector {
			if cache := counts[string(sample.Metric[upstreamLabel])]; cache != nil {
				known++
				*field(cache) = int64(math.Round(float64(sample.Value)))
			}
		}
	}
	if known == 0 && len(counts) > 0 {
		return Savings{}, fmt.Errorf("Prometheus at %s has no %s with the label %s that is one of the upstreams, at the matchers %q; "+
			"is it scraping this Cluster, and do its labels need other matchers?", address.Redacted(), pushedBytes, upstreamLabel, p.Matchers)
	}
	return inOrder(rc, counts, now.Add(-since)), nil
}

func (p Prometheus) query(metric, namespace string, since time.Duration) string {
	matchers := fmt.Sprintf("namespace=%q", namespace)
	if p.Matchers != "" {
		matchers += "," + p.Matchers
	}
	return fmt.Sprintf("sum by (%s) (increase(%s{%s}[%s]))", upstreamLabel, metric, matchers, model.Duration(since))
}

func query(ctx context.Context, prometheus prometheusv1.API, expression string, now time.Time) (model.Vector, error) {
	value, _, err := prometheus.Query(ctx, expression, now)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", expression, err)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, errors.New("asking Prometheus: the answer is no vector")
	}
	return vector, nil
}

func inOrder(rc *v1alpha1.RegistryCache, counts map[string]*Counts, since time.Time) Savings {
	all := Savings{Caches: []Cache{}}
	for _, spec := range rc.Spec.Caches {
		all.add(Cache{Upstream: spec.Upstream, Since: &metav1.Time{Time: since}, Counts: *counts[spec.Upstream]})
	}
	return all
}
