package registrycacheset

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
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
)

const controllerName = "registrycacheset"

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	log := ctrl.LoggerFrom(ctx).WithValues("controller", controllerName)
	r.refusals = newRefusals()
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	ours := predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilterValue)
	toSets := handler.EnqueueRequestsFromMapFunc(r.toSets)
	err := capicontroller.NewControllerManagedBy(mgr, log).
		Named(controllerName).
		For(&addonsv1.RegistryCacheSet{}, builder.WithPredicates(r.comingAndGoing(), ours)).
		// What has no watch label matters as well: a hand-written RegistryCache may stand in the way, and a Cluster may lose its label.
		Watches(&addonsv1.RegistryCacheSet{}, toSets, changes(ofSet)).
		Watches(&addonsv1.RegistryCache{}, toSets, changes(ofCache)).
		Watches(&clusterv1.Cluster{}, toSets, changes(ofCluster)).
		WithOptions(options).
		Complete(ctx, r)
	if err != nil {
		return fmt.Errorf("setting up the controller of RegistryCacheSet: %w", err)
	}
	return nil
}

// comingAndGoing filters nothing. It notes which sets are deleted in the foreground, and forgets those that are gone.
func (r *Reconciler) comingAndGoing() predicate.Funcs {
	funcs := predicate.NewPredicateFuncs(r.foreground.note)
	funcs.DeleteFunc = func(e event.DeleteEvent) bool {
		r.foreground.forget(e.Object)
		r.refusals.forgetSet(e.Object.GetUID())
		return true
	}
	return funcs
}

// toSets maps an object to all sets of its namespace that are this manager's: what one set gives up is the next one's to take.
func (r *Reconciler) toSets(ctx context.Context, obj client.Object) []ctrl.Request {
	sets := &addonsv1.RegistryCacheSetList{}
	if err := r.Client.List(ctx, sets, client.InNamespace(obj.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "A change wakes no RegistryCacheSet", "object", client.ObjectKeyFromObject(obj))
		return nil
	}
	requests := make([]ctrl.Request, 0, len(sets.Items))
	for i := range sets.Items {
		if heeded(&sets.Items[i], r.WatchFilterValue) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&sets.Items[i])})
		}
	}
	return requests
}

// changes lets those updates of an object pass that matter to sets.
func changes[T client.Object](relevant func(T) [5]any) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		after, okAfter := e.ObjectNew.(T)
		return ok && okAfter && !equality.Semantic.DeepEqual(relevant(before), relevant(after))
	}}
}

// ofSet is what other sets need to know of a set.
func ofSet(set *addonsv1.RegistryCacheSet) [5]any {
	return [5]any{set.Spec.ClusterSelector, set.DeletionTimestamp.IsZero(), since(set).Unix(), set.Labels[clusterv1.WatchLabel]}
}

// ofCache is what sets need to know of a RegistryCache.
func ofCache(rc *addonsv1.RegistryCache) [5]any {
	return [5]any{rc.Spec, rc.Labels, rc.Annotations, rc.OwnerReferences, [2]bool{rc.DeletionTimestamp.IsZero(), conditions.IsTrue(rc, addonsv1.ReadyCondition)}}
}

// ofCluster is what sets need to know of a Cluster.
func ofCluster(cluster *clusterv1.Cluster) [5]any {
	return [5]any{cluster.Labels, isPaused(cluster), hasVariable(cluster), cluster.DeletionTimestamp.IsZero()}
}
