package registrycache

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// removalPoll is how soon objects that are going are looked at again, should no watch tell of their end.
const removalPoll = 5 * time.Second

// removeWorkload removes every object of ours and waits until all are gone, but not for ever: a workload cluster that
// does not answer, or a Pod on a dead node that keeps its claim, must not hold the RegistryCache (I8). There is
// nothing to do if the caches go with their Cluster, or if there never was one to put them in.
func (r *Reconciler) removeWorkload(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.clusterGoing() || !ptr.Deref(s.cluster.Status.Initialization.InfrastructureProvisioned, false) {
		return ctrl.Result{}, nil
	}
	left, err := r.removeObjects(ctx, s)
	if err == nil && left == 0 {
		return ctrl.Result{}, nil
	}
	wait := s.cache.DeletionTimestamp.Add(r.UnreachableDeletionTimeout).Sub(r.Clock.Now())
	if wait <= 0 {
		r.event(s, corev1.EventTypeWarning, "LeftBehind", "Remove", "Gave up waiting for the objects in the workload cluster to be gone; objects with the label %s may be left in namespace %s", apply.FieldOwner, s.cache.Spec.Namespace)
		return ctrl.Result{}, nil
	}
	s.done = true
	switch {
	case errors.Is(err, ErrNotConnected):
		return ctrl.Result{RequeueAfter: wait}, nil
	case err != nil:
		return ctrl.Result{}, err
	default:
		return ctrl.Result{RequeueAfter: min(wait, removalPoll)}, nil
	}
}

// removeObjects deletes our objects and returns how many there still are. It reads from the API server, because a
// cache may be late.
func (r *Reconciler) removeObjects(ctx context.Context, s *scope) (int, error) {
	target, err := r.connect(ctx, s)
	if err != nil {
		return 0, err
	}
	s.target = target
	objects, err := apply.List(ctx, target.Live, target.Ours, s.cache.Spec.Namespace, workloadLists())
	if err != nil {
		return 0, fmt.Errorf("looking for objects in the workload cluster: %w", err)
	}
	if _, err := apply.Prune(ctx, *target, objects, func(client.Object) bool { return false }); err != nil {
		return 0, fmt.Errorf("removing objects from the workload cluster: %w", err)
	}
	return len(objects), nil
}
