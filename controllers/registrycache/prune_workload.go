package registrycache

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// pruneWorkload removes the objects of caches that are no longer in the spec, and those that a cache no longer
// has.
func (r *Reconciler) pruneWorkload(ctx context.Context, s *scope) (ctrl.Result, error) {
	objects, err := apply.List(ctx, s.target.Client, s.target.Ours, s.cache.Spec.Namespace, workloadLists())
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("looking for objects that are not wanted: %w", err)
	}
	pruned, err := apply.Prune(ctx, *s.target, objects, s.wanted)
	removed := false
	for _, obj := range pruned {
		if _, ok := obj.(*corev1.Service); ok {
			removed = true
			r.tellLeftBehind(s)
			r.event(s, corev1.EventTypeNormal, "CacheRemoved", "Prune", "Removed the cache of %s from the workload cluster", obj.GetAnnotations()[addonsv1.UpstreamAnnotation])
		}
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("removing objects that are not wanted: %w", err)
	}
	if removed {
		return ctrl.Result{}, removeOrphans(ctx, s.target, s.cache.Spec.Namespace, s.hasInstance)
	}
	return ctrl.Result{}, nil
}

// hasInstance says whether an instance label is that of a cache in the spec, or of node-sync.
func (s *scope) hasInstance(instance string) bool {
	for _, fact := range s.facts {
		if fact.instance == instance {
			return true
		}
	}
	return instance == manifests.NodeSyncName
}

// wanted says whether an object has to stay. A cache that could not be applied keeps all that it has (I5); a cache
// that is in the spec keeps the claims of its replicas. What is not in the spec stays until nodes have forgotten it.
func (s *scope) wanted(obj client.Object) bool {
	if obj.GetLabels()[addonsv1.InstanceLabel] == manifests.NodeSyncName {
		return !s.nodes.ignored && (s.nodes.rejected != "" || !s.forgotten || s.nodes.objects[objectKey(obj)])
	}
	for upstream, fact := range s.facts {
		if fact.instance != obj.GetLabels()[addonsv1.InstanceLabel] {
			continue
		}
		if _, claim := obj.(*corev1.PersistentVolumeClaim); claim {
			return !fact.applied || s.claimWanted(upstream, obj)
		}
		return !fact.applied || fact.objects[objectKey(obj)]
	}
	return !s.forgotten
}
