package registrycacheset

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// letGo takes the mark of this set off RegistryCaches that a user has made hand-written, by taking away the controller reference. They
// stay as they are otherwise. Without the mark, no deletion of the set reaches them, so this does not wait for a pause of the Cluster to end.
func (r *Reconciler) letGo(ctx context.Context, s *scope) (ctrl.Result, error) {
	var errs []error
	for name, rc := range s.caches {
		if !marked(rc, s.set.Name) {
			continue
		}
		// When the set is being deleted it may be the garbage collector that took the reference away, before we have heard of it.
		current := &addonsv1.RegistryCacheSet{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s.set), current); err != nil || !current.DeletionTimestamp.IsZero() {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		if err := client.IgnoreNotFound(r.unmark(ctx, rc)); err != nil {
			errs = append(errs, fmt.Errorf("letting go of the RegistryCache of Cluster %s: %w", name, err))
		}
	}
	return again(errs)
}

func (r *Reconciler) unmark(ctx context.Context, before *addonsv1.RegistryCache) error {
	rc := before.DeepCopy()
	delete(rc.Labels, addonsv1.SetLabel)
	delete(rc.Annotations, addonsv1.SetMetadataAnnotation)
	return r.Client.Patch(ctx, rc, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// marked says whether a RegistryCache has the mark of a set of this name, and nobody keeps it.
func marked(rc *addonsv1.RegistryCache, set string) bool {
	return rc.Labels[addonsv1.SetLabel] == set && metav1.GetControllerOf(rc) == nil && rc.DeletionTimestamp.IsZero()
}
