package registrycache

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// observeWorkload counts the replicas of each cache that serve.
func (r *Reconciler) observeWorkload(ctx context.Context, s *scope) (ctrl.Result, error) {
	for upstream, fact := range s.facts {
		set := &appsv1.StatefulSet{}
		err := s.target.Client.Get(ctx, client.ObjectKey{Namespace: s.cache.Spec.Namespace, Name: fact.instance}, set)
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("looking at the cache of %s: %w", upstream, err)
		}
		if s.target.Ours.Matches(labelsOf(set)) {
			fact.readyReplicas = set.Status.ReadyReplicas
		}
		s.status(upstream).ReadyReplicas = ptr.To(fact.readyReplicas)
	}
	return ctrl.Result{}, nil
}
