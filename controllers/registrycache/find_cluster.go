package registrycache

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
)

// findCluster ends the reconcile of a RegistryCache that has no Cluster to live in, or none for long. The watch of
// Clusters wakes the controller when that changes. A deletion goes on.
func (r *Reconciler) findCluster(_ context.Context, s *scope) (ctrl.Result, error) {
	s.done = s.clusterGoing() && !s.deleting()
	return ctrl.Result{}, nil
}
