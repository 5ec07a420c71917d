package counters

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const metricsPath = "/metrics"

// Savings are what the caches of a Cluster counted.
type Savings struct {
	// Caches has an entry for each cache of the spec, in its order.
	Caches []Cache `json:"caches"`
	// Total is the sum of them.
	Total Counts `json:"total"`
}

// Cache is what the Pods of one cache counted.
type Cache struct {
	Upstream string `json:"upstream"`
	// Since is when the counters began: the start of the oldest process, or a time that was asked for.
	Since *metav1.Time `json:"since,omitempty"`
	// Pods should have answered, and Answered did. Both are 0 if Prometheus was asked.
	Pods     int `json:"pods,omitempty"`
	Answered int `json:"answered"`
	Counts   `json:",inline"`

	// pods are the counters of each Pod with the start of its process.
	pods map[string]looked
}

type looked struct {
	counts  Counts
	started time.Time
}

// Silent is a cache of which no Pod answered: its counts are not known, though they are 0.
func (c Cache) Silent() bool { return c.Pods > 0 && c.Answered == 0 }

// Read asks every Pod of every cache. The error is about Pods that did not answer; what others said is there all the same.
func Read(ctx context.Context, pods reach.Pods, rc *v1alpha1.RegistryCache) (Savings, error) {
	all := Savings{Caches: []Cache{}}
	var errs []error
	for _, spec := range rc.Spec.Caches {
		cache, err := ReadCache(ctx, pods, rc.Spec.Namespace, spec)
		errs = append(errs, err)
		all.add(cache)
	}
	return all, errors.Join(errs...)
}

// ReadCache is Read for one cache.
func ReadCache(ctx context.Context, pods reach.Pods, namespace string, spec v1alpha1.Cache) (Cache, error) {
	cache := Cache{Upstream: spec.Upstream, pods: map[string]looked{}}
	var errs []error
	for _, name := range manifests.PodNames(spec) {
		cache.Pods++
		document, err := pods.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, manifests.DebugPort, metricsPath)
		if err != nil {
			errs = append(errs, fmt.Errorf("asking Pod %s/%s for its counters: %w", namespace, name, err))
			continue
		}
		counts, began, err := Parse(document)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the counters of Pod %s/%s: %w", namespace, name, err))
			continue
		}
		cache.Answered++
		cache.pods[name] = looked{counts, began}
		cache.Counts = cache.Add(counts)
		if !began.IsZero() && (cache.Since == nil || began.Before(cache.Since.Time)) {
			cache.Since = &metav1.Time{Time: began}
		}
	}
	return cache, errors.Join(errs...)
}

func (s *Savings) add(cache Cache) {
	s.Caches = append(s.Caches, cache)
	s.Total = s.Total.Add(cache.Counts)
}

// Between is what was counted after an earlier look, which was at a time. Of a process that started in between, all counts.
func Between(earlier, later Savings, at time.Time) Savings {
	all := Savings{Caches: []Cache{}}
	for i, cache := range later.Caches {
		all.add(Since(earlier.Caches[i], cache, at))
	}
	return all
}

// Since is Between for one cache. A Pod that did not answer at first is left out, unless it was not there: what it counted may be of long ago.
func Since(earlier, later Cache, at time.Time) Cache {
	since := Cache{Upstream: later.Upstream, Since: &metav1.Time{Time: at}, Pods: later.Pods}
	for name, now := range later.pods {
		before, known := earlier.pods[name]
		switch {
		case known && before.started.Equal(now.started):
			now.counts = now.counts.Sub(before.counts)
		case !known && !now.started.After(at):
			continue
		}
		since.Answered++
		since.Counts = since.Add(now.counts)
	}
	return since
}
