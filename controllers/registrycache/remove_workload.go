package registrycache

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// removalPoll is how soon objects that are going are looked at again, should no watch tell of their end.
const removalPoll = 2 * time.Second

// overdue is how long a Pod may be there after the kubelet was to kill it.
const overdue = 15 * time.Second

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

// removeObjects deletes our objects and returns how many there still are, and how many Pods of theirs. It reads from the API server, because a
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
	if err := removeOrphans(ctx, target, s.cache.Spec.Namespace, func(string) bool { return false }); err != nil {
		return 0, err
	}
	pods, err := r.endingPods(ctx, s)
	return len(objects) + pods, err
}

// endingPods is how many of our Pods are about to end. One that is still there after its time is on a node that does not answer;
// Kubernetes removes it once the node is back or gone.
func (r *Reconciler) endingPods(ctx context.Context, s *scope) (int, error) {
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := s.target.Live.List(ctx, pods, client.InNamespace(s.cache.Spec.Namespace), client.MatchingLabels{addonsv1.ManagedByLabel: addonsv1.ManagedByValue}); err != nil {
		return 0, fmt.Errorf("looking for Pods in the workload cluster: %w", err)
	}
	ending := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() || r.Clock.Now().Before(pod.DeletionTimestamp.Add(overdue)) {
			ending++
		}
	}
	return ending, nil
}
