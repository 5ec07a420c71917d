package topology

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/cluster-api/util/conditions"
	capicontroller "sigs.k8s.io/cluster-api/util/controller"
	"sigs.k8s.io/cluster-api/util/predicates"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

const controllerName = "topology"

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	log := ctrl.LoggerFrom(ctx).WithValues("controller", controllerName)
	var err error
	if r.schema, err = variable.New(); err != nil {
		return err
	}
	r.told = newTold()
	ours := predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilterValue)
	_, err = capicontroller.NewControllerManagedBy(mgr, log).
		Named(controllerName).
		For(&clusterv1.Cluster{}, builder.WithPredicates(ours, clusterChanges())).
		// A RegistryCache without the watch label matters as well: a hand-written one may stand in the way.
		Watches(&addonsv1.RegistryCache{}, handler.EnqueueRequestsFromMapFunc(r.toCluster), cacheChanges()).
		WithOptions(options).
		Build(ctx, r)
	if err != nil {
		return fmt.Errorf("setting up the controller of variables: %w", err)
	}
	return nil
}

// toCluster maps a RegistryCache to its Cluster, which has the same name, if it is one for this manager.
func (r *Reconciler) toCluster(ctx context.Context, rc client.Object) []ctrl.Request {
	key := client.ObjectKeyFromObject(rc)
	if r.WatchFilterValue != "" {
		cluster := &clusterv1.Cluster{}
		if err := r.Client.Get(ctx, key, cluster); err != nil || cluster.Labels[clusterv1.WatchLabel] != r.WatchFilterValue {
			return nil
		}
	}
	return []ctrl.Request{{NamespacedName: key}}
}

// clusterChanges lets those changes of a Cluster pass that matter to its variable.
func clusterChanges() predicate.Funcs {
	return changes(func(cluster *clusterv1.Cluster) []any {
		value, asked := variable.Of(cluster)
		return []any{value, asked, cluster.Labels[clusterv1.WatchLabel], ptr.Deref(cluster.Spec.Paused, false), annotations.HasPaused(cluster),
			cluster.DeletionTimestamp.IsZero(), cluster.UID}
	})
}

// cacheChanges lets those changes of a RegistryCache pass that somebody else may have made to what we write, and to whose it is.
func cacheChanges() predicate.Funcs {
	return changes(func(rc *addonsv1.RegistryCache) []any {
		return []any{rc.Generation, rc.OwnerReferences, rc.Labels[clusterv1.WatchLabel], annotations.HasPaused(rc), rc.DeletionTimestamp.IsZero(), rc.UID,
			conditions.Get(rc, addonsv1.VariableAppliedCondition)}
	})
}

// changes lets updates pass that make a difference in what relevant returns, and everything that comes or goes.
func changes[T client.Object](relevant func(T) []any) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		if !ok {
			return false
		}
		after, ok := e.ObjectNew.(T)
		return ok && !equality.Semantic.DeepEqual(relevant(before), relevant(after))
	}}
}
