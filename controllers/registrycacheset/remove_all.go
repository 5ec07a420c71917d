package registrycacheset

import (
	"context"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// removeAll deletes the RegistryCaches of a set that goes away, and waits until they are gone. Paused Clusters keep theirs, and the set,
// until they are not paused any more. With `kubectl delete --cascade=orphan` all of them stay, and are hand-written from then on.
func (r *Reconciler) removeAll(ctx context.Context, s *scope) (ctrl.Result, error) {
	if controllerutil.ContainsFinalizer(s.set, metav1.FinalizerOrphanDependents) {
		return ctrl.Result{}, nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.caches)) {
		rc, cluster := s.caches[name], s.clusters[name]
		if !r.made(s, rc) {
			continue
		}
		why := "its RegistryCache is being removed"
		if cluster != nil && isPaused(cluster) {
			why = "the Cluster is paused"
		} else if rc.DeletionTimestamp.IsZero() {
			err := r.remove(ctx, s, rc, "the set is removed")
			if err != nil && !apierrors.IsConflict(err) {
				why = notRemoved(err)
			}
			errs = append(errs, err)
		}
		s.keeps(rc, why)
	}
	s.done = len(s.leaving) > 0
	return again(errs)
}

// made says whether a RegistryCache is of this set, which is being deleted. With `kubectl delete --cascade=foreground` the garbage
// collector takes the reference to the set off RegistryCaches, because they have their Cluster as an owner too; the label is left.
func (r *Reconciler) made(s *scope, rc *addonsv1.RegistryCache) bool {
	if metav1.IsControlledBy(rc, s.set) {
		return true
	}
	return r.foreground.has(s.set) && metav1.GetControllerOf(rc) == nil && rc.Labels[addonsv1.SetLabel] == s.set.Name
}

// foreground are the sets that are deleted in the foreground. A finalizer says so, but the garbage collector takes it away as soon as it
// has taken the references off, which may be before the set is looked at; so it is noted when the watch tells of it. A manager that does
// not run at that moment leaves such RegistryCaches, as it would with `--cascade=orphan`: removing them cannot be undone.
type foreground struct{ sets sync.Map }

// note never filters.
func (f *foreground) note(obj client.Object) bool {
	if !obj.GetDeletionTimestamp().IsZero() && controllerutil.ContainsFinalizer(obj, metav1.FinalizerDeleteDependents) {
		f.sets.Store(obj.GetUID(), true)
	}
	return true
}

func (f *foreground) has(set *addonsv1.RegistryCacheSet) bool {
	f.note(set)
	_, noted := f.sets.Load(set.UID)
	return noted
}

func (f *foreground) forget(set client.Object) { f.sets.Delete(set.GetUID()) }

// releaseFinalizer lets a set go whose RegistryCaches are gone.
func (r *Reconciler) releaseFinalizer(_ context.Context, s *scope) (ctrl.Result, error) {
	controllerutil.RemoveFinalizer(s.set, addonsv1.RegistryCacheSetFinalizer)
	return ctrl.Result{}, nil
}
