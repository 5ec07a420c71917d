package registrycache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

// forgottenPoll is how soon nodes are looked at again that have to forget something.
const forgottenPoll = 2 * time.Second

// awaitNodes keeps what nodes still use until all have taken over what they are told now, but not beyond a deadline: a node
// that does not answer must not hold an upstream for ever. Nodes themselves withdraw what does not answer.
func (r *Reconciler) awaitNodes(_ context.Context, s *scope) (ctrl.Result, error) {
	if s.nodes.ignored || (s.nodes.rejected == "" && len(s.nodes.pending) == 0) {
		s.forgotten = true
		return ctrl.Result{}, nil
	}
	since := s.nodes.since
	if since.IsZero() {
		return ctrl.Result{}, nil
	}
	wait := since.Add(r.NodeForgetTimeout).Sub(r.Clock.Now())
	if s.forgotten = wait <= 0; s.forgotten {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: min(wait, forgottenPoll)}, nil
}

// forgetNodes lets every node remove what is ours before the caches go. There is nothing to do if the nodes go too, if nobody
// ever told them of anything, or if the workload cluster cannot be reached; then removeWorkload knows how long to wait.
func (r *Reconciler) forgetNodes(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.clusterGoing() || !ptr.Deref(s.cluster.Status.Initialization.InfrastructureProvisioned, false) || s.cache.Spec.Nodes.Existing == addonsv1.ExistingNodesIgnore {
		return ctrl.Result{}, nil
	}
	target, err := r.connect(ctx, s)
	if errors.Is(err, ErrNotConnected) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("connecting the workload cluster: %w", err)
	}
	s.target = target
	if removed, err := r.removalBegan(ctx, s); err != nil || removed {
		return ctrl.Result{}, err
	}
	state, err := nodepayload.Removal(s.cache)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.nodes = &nodesFact{}
	if err := r.applyNodeSync(ctx, s, state); err != nil {
		return ctrl.Result{}, err
	}
	if _, err := r.observeNodes(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	result, err := r.awaitNodes(ctx, s)
	s.done = !s.forgotten
	if s.forgotten {
		r.tellLeftBehind(s)
	}
	return result, err
}

// tellLeftBehind names nodes that may still know of what is removed now.
func (r *Reconciler) tellLeftBehind(s *scope) {
	if s.nodes != nil && len(s.nodes.pending) > 0 {
		r.event(s, corev1.EventTypeWarning, "NodesLeftBehind", "Remove", "Gave up waiting after %s for nodes to forget what is removed; they forget it when they are back: %s",
			r.NodeForgetTimeout, named(s.nodes.pending))
	}
}

// removalBegan tells whether everything of ours is going already, so nodes have forgotten, or were waited for long enough.
func (r *Reconciler) removalBegan(ctx context.Context, s *scope) (bool, error) {
	objects, err := apply.List(ctx, s.target.Live, s.target.Ours, s.cache.Spec.Namespace, workloadLists())
	if err != nil {
		return false, fmt.Errorf("looking for objects in the workload cluster: %w", err)
	}
	return !slices.ContainsFunc(objects, func(obj client.Object) bool { return obj.GetDeletionTimestamp().IsZero() }), nil
}

// named are the first few names of many.
func named(nodes []string) string {
	if len(nodes) <= namedNodes {
		return strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(nodes[:namedNodes], ", "), len(nodes)-namedNodes)
}
