package registrycache

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// rangeGrace is how long an API server that refuses an address is asked for it again: one that has just started refuses every address
// until it knows its ranges, in the same words as one that never has the range
// (https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/registry/core/service/ipallocator/cidrallocator.go).
const rangeGrace = 5 * time.Second

// droppable says whether the address of a cache is one that the workload cluster refuses and that nobody could have held against the
// Service CIDR, as that is not known: it comes from the annotation in a manifest that was copied, or in a backup of another cluster.
func (s *scope) droppable(entry *addonsv1.CacheStatus, err error) bool {
	return entry.Endpoint != "" && s.addressing.reason == addonsv1.ServiceCIDRUnknownReason && addressRefused(err)
}

// dropAddress takes the address of a cache away, so that the API server assigns one. Again says that the objects can be applied without
// it at once; otherwise the result or the error say when it goes on.
func (r *Reconciler) dropAddress(s *scope, entry *addonsv1.CacheStatus) (again bool, result ctrl.Result, err error) {
	refused, err := addressOf(entry.Endpoint)
	if err != nil {
		return false, ctrl.Result{}, err
	}
	key := refusal{s.clusterKey(), refused}
	if r.refusals.since(key, r.Clock.Now()) < rangeGrace {
		return false, ctrl.Result{RequeueAfter: releaseRetry}, nil
	}
	r.refusals.forget(key)
	entry.Endpoint = ""
	r.event(s, corev1.EventTypeWarning, "AddressRefused", "Allocate", "%s is none of the workload cluster's addresses for Services; the cache of %s gets one that its API server assigns",
		refused, entry.Upstream)
	return true, ctrl.Result{}, nil
}
