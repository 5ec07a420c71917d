package registrycache

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

// nodesFact is what is known of the nodes that exist already.
type nodesFact struct {
	// ignored: the spec leaves them alone.
	ignored bool
	// generation is what they are told, since when.
	generation string
	since      time.Time
	// objects are those of node-sync that are wanted, by objectKey.
	objects map[string]bool
	// rejected says which object the API server does not accept, and why; the user has to mend it.
	rejected string
	// total counts them; configured those that do as they are told.
	total, configured int32
	// pending are those that have not taken over yet, troubles say what keeps some of them.
	pending, troubles []string
}

// syncNodes tells nodes that exist already of the caches.
func (r *Reconciler) syncNodes(ctx context.Context, s *scope) (ctrl.Result, error) {
	s.nodes = &nodesFact{}
	if s.cache.Spec.Nodes.Existing == addonsv1.ExistingNodesIgnore {
		s.nodes.ignored = true
		return ctrl.Result{}, nil
	}
	if s.nodes.rejected = s.untrusted(); s.nodes.rejected != "" {
		return ctrl.Result{}, nil
	}
	state, err := nodepayload.State(s.cache)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.applyNodeSync(ctx, s, state)
}

// applyNodeSync brings a desired state to all nodes. What the API server rejects is a fact, and not tried again by itself.
func (r *Reconciler) applyNodeSync(ctx context.Context, s *scope, state desired.State) error {
	document, err := state.Encode()
	if err != nil {
		return fmt.Errorf("rendering the desired state of nodes: %w", err)
	}
	s.nodes.generation, s.nodes.objects = state.Generation, map[string]bool{}
	for _, obj := range manifests.NodeSyncObjects(manifests.NodeSyncValues{
		Namespace: s.cache.Spec.Namespace, Image: r.WorkloadImage, Generation: state.Generation, Document: document,
	}) {
		if _, err := r.applyObject(ctx, s, obj); err != nil {
			err = &objectError{object: fmt.Sprintf("%s %s", obj.GetObjectKind().GroupVersionKind().Kind, obj.GetName()), err: err}
			if !rejected(err) {
				return err
			}
			s.nodes.rejected = rejection(err)
			r.event(s, corev1.EventTypeWarning, addonsv1.ApplyFailedReason, "Apply", "node-sync was rejected by the workload cluster: %v", err)
			return nil
		}
		s.nodes.objects[objectKey(obj)] = true
		if _, ok := obj.(*corev1.ConfigMap); ok {
			s.nodes.since = obj.GetCreationTimestamp().Time
		}
	}
	return nil
}
