package registrycache

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// releaseRetry is how soon an address is asked for again that is allocated without a Service holding it: the
	// API server frees the address of a deleted Service a moment after the Service.
	releaseRetry = 2 * time.Second
	// releaseGrace is how long that is done before the cache gets another address.
	releaseGrace = time.Minute
)

// moveAddress gives a cache whose address is taken the next one. Again says that the objects can be applied with
// it at once; otherwise the result or the error say when it goes on.
func (r *Reconciler) moveAddress(ctx context.Context, s *scope, entry *addonsv1.CacheStatus) (again bool, result ctrl.Result, err error) {
	refused, err := addressOf(entry.Endpoint)
	if err != nil {
		return false, ctrl.Result{}, err
	}
	held, err := heldByOther(ctx, s, refused)
	if err != nil {
		return false, ctrl.Result{}, err
	}
	key := refusal{s.clusterKey(), refused}
	if !held && r.refusals.since(key, r.Clock.Now()) < releaseGrace {
		return false, ctrl.Result{RequeueAfter: releaseRetry}, nil
	}
	r.refusals.forget(key)
	if s.taken == nil {
		s.taken = map[netip.Addr]bool{}
	}
	s.taken[refused] = true
	again, err = r.nextAddress(s, entry, refused)
	return again, ctrl.Result{}, err
}

// nextAddress replaces the refused address of a cache. With an unknown Service CIDR it is left to the API server.
func (r *Reconciler) nextAddress(s *scope, entry *addonsv1.CacheStatus, refused netip.Addr) (bool, error) {
	used := inUse(s.cache.Status.Caches)
	maps.Copy(used, s.taken)
	entry.Endpoint = ""
	band, err := serviceBand(s.cluster)
	if err != nil {
		return false, err
	}
	if band != nil {
		addr, err := band.Next(used)
		if err != nil {
			s.addressing = addressFact{addonsv1.AddressesExhaustedReason, fmt.Sprintf("%s: %v", serviceCIDRField, err)}
			return false, nil
		}
		entry.Endpoint = endpoint(s.cache, entry.Upstream, addr)
	}
	r.event(s, corev1.EventTypeWarning, "AddressTaken", "Allocate", "%s is taken in the workload cluster; the cache of %s gets another address", refused, entry.Upstream)
	return true, nil
}

// heldByOther says whether a Service holds the address and will go on to do so.
func heldByOther(ctx context.Context, s *scope, addr netip.Addr) (bool, error) {
	services := &corev1.ServiceList{}
	if err := s.target.Live.List(ctx, services); err != nil {
		return false, fmt.Errorf("looking for the Service with address %s: %w", addr, err)
	}
	for i := range services.Items {
		service := &services.Items[i]
		if has(service, addr) && service.DeletionTimestamp.IsZero() && !s.leaving(service) {
			return true, nil
		}
	}
	return false, nil
}

func has(service *corev1.Service, addr netip.Addr) bool {
	for _, ip := range append([]string{service.Spec.ClusterIP}, service.Spec.ClusterIPs...) {
		if held, err := netip.ParseAddr(ip); err == nil && held == addr {
			return true
		}
	}
	return false
}

// leaving says whether an object is ours and belongs to a cache that is no longer in the spec.
func (s *scope) leaving(obj client.Object) bool {
	if obj.GetNamespace() != s.cache.Spec.Namespace || !s.target.Ours.Matches(labelsOf(obj)) {
		return false
	}
	for _, entry := range s.cache.Status.Caches {
		if entry.ServiceName == obj.GetLabels()[addonsv1.InstanceLabel] {
			return false
		}
	}
	return true
}

func labelsOf(obj client.Object) labels.Set { return obj.GetLabels() }

// refusal is an address that a workload cluster refused.
type refusal struct {
	cluster client.ObjectKey
	addr    netip.Addr
}

// refusals remembers since when addresses are refused though nothing holds them.
type refusals struct {
	mu    sync.Mutex
	first map[refusal]time.Time
}

func newRefusals() *refusals { return &refusals{first: map[refusal]time.Time{}} }

// since returns how long ago the refusal was first seen; now is the first time if it was not.
func (r *refusals) since(key refusal, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, seen := r.first[key]; !seen {
		r.first[key] = now
	}
	return now.Sub(r.first[key])
}

func (r *refusals) forget(key refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.first, key)
}

// forgetCluster drops what is remembered of a cluster.
func (r *refusals) forgetCluster(cluster client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.first, func(key refusal, _ time.Time) bool { return key.cluster == cluster })
}
