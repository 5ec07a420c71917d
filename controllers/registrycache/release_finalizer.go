package registrycache

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// releaseFinalizer lets a RegistryCache go whose objects are gone, and forgets what was remembered for it. Nobody else would take
// the addresses out of the Secret that bootstrap templates name.
func (r *Reconciler) releaseFinalizer(_ context.Context, s *scope) (ctrl.Result, error) {
	if s.payload.err != nil {
		return ctrl.Result{}, nil
	}
	controllerutil.RemoveFinalizer(s.cache, addonsv1.RegistryCacheFinalizer)
	r.applier.Forget(s.clusterKey())
	r.refusals.forgetCluster(s.clusterKey())
	r.certificates.forgetCluster(s.clusterKey())
	r.usages.forgetCluster(s.clusterKey())
	return ctrl.Result{}, nil
}
