package registrycacheset

import (
	"context"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// removeAll deletes the RegistryCaches of a set that goes away, and waits until they are gone. Paused Clusters keep theirs, and the set,
// until they are not paused any more. With `kubectl delete --cascade=orphan` all of them stay, and are hand-written from then on.
func (r *Reconciler) removeAll(ctx context.Context, s *scope) (ctrl.Result, error) {
	if controllerutil.ContainsFinalizer(s.set, metav1.FinalizerOrphanDependents) {
		return ctrl.Result{}, nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.caches)) {
		rc, cluster := s.caches[name], s.clusters[name]
		if !s.made(rc) {
			continue
		}
		why := "its RegistryCache is being removed"
		if cluster != nil && isPaused(cluster) {
			why = "the Cluster is paused"
		} else if rc.DeletionTimestamp.IsZero() {
			if err := r.remove(ctx, s, rc, "the set is removed"); err != nil {
				s.done = true
				return again(err)
			}
		}
		s.leaving = append(s.leaving, verdict{name, why})
	}
	s.done = len(s.leaving) > 0
	return ctrl.Result{}, nil
}

// made says whether a RegistryCache is of this set, which is being deleted. With `kubectl delete --cascade=foreground` the garbage
// collector takes the reference to the set off RegistryCaches, because they have their Cluster as an owner too; the label is left.
func (s *scope) made(rc *addonsv1.RegistryCache) bool {
	if metav1.IsControlledBy(rc, s.set) {
		return true
	}
	return controllerutil.ContainsFinalizer(s.set, metav1.FinalizerDeleteDependents) &&
		metav1.GetControllerOf(rc) == nil && rc.Labels[addonsv1.SetLabel] == s.set.Name
}

// releaseFinalizer lets a set go whose RegistryCaches are gone.
func (r *Reconciler) releaseFinalizer(_ context.Context, s *scope) (ctrl.Result, error) {
	controllerutil.RemoveFinalizer(s.set, addonsv1.RegistryCacheSetFinalizer)
	r.refusals.forgetSet(s.set.UID)
	return ctrl.Result{}, nil
}
