package registrycache

import (
	"context"
	"fmt"

	"sigs.k8s.io/cluster-api/util/patch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// joinCluster makes the Cluster an owner of the RegistryCache, not the controller: so it is garbage collected
// with the Cluster, and clusterctl moves it along.
func (r *Reconciler) joinCluster(ctx context.Context, s *scope) (ctrl.Result, error) {
	owned, err := controllerutil.HasOwnerReference(s.cache.OwnerReferences, s.cluster, r.Client.Scheme())
	if err != nil || owned {
		return ctrl.Result{}, err
	}
	before := s.cache.DeepCopy()
	if err := controllerutil.SetOwnerReference(s.cluster, s.cache, r.Client.Scheme()); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.Client.Patch(ctx, s.cache, client.MergeFrom(before)); err != nil {
		return ctrl.Result{}, fmt.Errorf("setting the owner: %w", err)
	}
	s.helper, err = patch.NewHelper(s.cache, r.Client)
	return ctrl.Result{}, err
}
