package registrycache

import (
	"maps"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expiries remembers when the certificates of caches end, for metrics. They are kept in memory and not in the status: each reconcile that
// reaches the workload cluster looks at them anyway, and nothing but metrics needs them.
type expiries struct {
	mu    sync.Mutex
	known map[client.ObjectKey]map[string]time.Time
}

// Expiry is when the certificates of the caches of a RegistryCache end, by upstream, as the last look at the workload cluster found them.
func (r *Reconciler) Expiry(key client.ObjectKey) map[string]time.Time {
	r.expiries.mu.Lock()
	defer r.expiries.mu.Unlock()
	return maps.Clone(r.expiries.known[key])
}

// put takes what a reconcile found. One that did not get so far, be it with one cache, leaves what was known.
func (e *expiries) put(s *scope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case s.deleting():
		delete(e.known, s.clusterKey())
		return
	case s.facts == nil:
		return
	case e.known == nil:
		e.known = map[client.ObjectKey]map[string]time.Time{}
	}
	known, found := e.known[s.clusterKey()], map[string]time.Time{}
	for _, cache := range s.cache.Spec.Caches {
		fact, before := s.facts[cache.Upstream], known[cache.Upstream]
		switch {
		case fact != nil && fact.certificate != nil:
			found[cache.Upstream] = fact.certificate.NotAfter
		case (fact == nil || !fact.uncertified) && !before.IsZero():
			found[cache.Upstream] = before
		}
	}
	e.known[s.clusterKey()] = found
}
