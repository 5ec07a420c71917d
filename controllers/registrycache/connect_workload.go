package registrycache

import (
	"context"
	"errors"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// connectWorkload finds the workload cluster and watches our objects there. If it is not connected, nothing more
// happens until the ClusterCache wakes the controller.
func (r *Reconciler) connectWorkload(ctx context.Context, s *scope) (ctrl.Result, error) {
	target, err := r.connect(ctx, s)
	if errors.Is(err, ErrNotConnected) {
		r.usages.keep(s)
		s.done = true
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("connecting the workload cluster: %w", err)
	}
	s.target = target
	return ctrl.Result{}, nil
}

func (r *Reconciler) connect(ctx context.Context, s *scope) (*apply.Target, error) {
	cached, err := r.Workloads.GetClient(ctx, s.clusterKey())
	if err != nil {
		return nil, err
	}
	live, err := r.Workloads.GetUncachedClient(ctx, s.clusterKey())
	if err != nil {
		return nil, err
	}
	if err := r.watch(ctx, s.clusterKey()); err != nil {
		return nil, err
	}
	return &apply.Target{Cluster: s.clusterKey(), Client: cached, Live: live, Ours: manifests.Selector()}, nil
}

// watch lets every change of our objects in the workload cluster wake the controller.
func (r *Reconciler) watch(ctx context.Context, cluster client.ObjectKey) error {
	toCache := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []ctrl.Request {
		return []ctrl.Request{{NamespacedName: cluster}}
	})
	for _, kind := range WorkloadKinds() {
		watch := Watch{Name: fmt.Sprintf("registrycache-%T", kind), Watcher: r.watcher, Kind: kind, Handler: toCache}
		if err := r.Workloads.Watch(ctx, cluster, watch); err != nil {
			return err
		}
	}
	return nil
}
