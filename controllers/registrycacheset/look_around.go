package registrycacheset

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// lookAround reads what there is in the namespace, and decides for each Cluster that the set matches. A selector that cannot be read
// selects nothing and gives nothing up (I5).
func (r *Reconciler) lookAround(ctx context.Context, s *scope) (ctrl.Result, error) {
	if err := r.list(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	selector, err := metav1.LabelSelectorAsSelector(&s.set.Spec.ClusterSelector)
	if err != nil {
		s.invalid = fmt.Sprintf("spec.clusterSelector: %v; accepted are the operators In and NotIn with values, and Exists and DoesNotExist without", err)
		s.done = !s.deleting()
		return ctrl.Result{}, nil
	}
	s.selector = selector
	s.claims = claims(s)
	return ctrl.Result{}, nil
}

func (r *Reconciler) list(ctx context.Context, s *scope) error {
	clusters, caches, sets := &clusterv1.ClusterList{}, &addonsv1.RegistryCacheList{}, &addonsv1.RegistryCacheSetList{}
	for _, list := range []client.ObjectList{clusters, caches, sets} {
		if err := r.Client.List(ctx, list, client.InNamespace(s.set.Namespace)); err != nil {
			return fmt.Errorf("listing %T: %w", list, err)
		}
	}
	s.clusters, s.caches = map[string]*clusterv1.Cluster{}, map[string]*addonsv1.RegistryCache{}
	for i := range clusters.Items {
		s.clusters[clusters.Items[i].Name] = &clusters.Items[i]
	}
	for i := range caches.Items {
		s.caches[caches.Items[i].Name] = &caches.Items[i]
	}
	s.others = slices.DeleteFunc(sets.Items, func(other addonsv1.RegistryCacheSet) bool {
		return other.Name == s.set.Name || !heeded(&other, s.watched)
	})
	slices.SortFunc(s.others, func(a, b addonsv1.RegistryCacheSet) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
