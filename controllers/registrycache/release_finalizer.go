package registrycache

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// releaseFinalizer lets a RegistryCache go whose objects are gone, and forgets what was remembered for it.
func (r *Reconciler) releaseFinalizer(_ context.Context, s *scope) (ctrl.Result, error) {
	controllerutil.RemoveFinalizer(s.cache, addonsv1.RegistryCacheFinalizer)
	r.applier.Forget(s.clusterKey())
	r.refusals.forgetCluster(s.clusterKey())
	return ctrl.Result{}, nil
}
