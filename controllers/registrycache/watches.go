package registrycache

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	capicontroller "sigs.k8s.io/cluster-api/util/controller"
	"sigs.k8s.io/cluster-api/util/predicates"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

const controllerName = "registrycache"

// watcher is the part of a controller that starts watches.
type watcher interface {
	Watch(source source.TypedSource[ctrl.Request]) error
}

// WorkloadKinds are the kinds that we write into workload clusters, and those that come of them. Caches of workload
// clusters hold them only with our labels.
func WorkloadKinds() []client.Object {
	return []client.Object{
		&appsv1.StatefulSet{}, &appsv1.DaemonSet{}, &corev1.Service{}, &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.PersistentVolumeClaim{},
		&networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{},
	}
}

// workloadLists are the lists of WorkloadKinds. What makes Pods comes first, so that nothing re-creates the rest.
func workloadLists() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.PersistentVolumeClaimList{},
		&networkingv1.NetworkPolicyList{}, &policyv1.PodDisruptionBudgetList{},
	}
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	log := ctrl.LoggerFrom(ctx).WithValues("controller", controllerName)
	r.init()
	var err error
	if r.references, err = newReferences(mgr, r.WatchNamespace); err != nil {
		return err
	}
	c, err := capicontroller.NewControllerManagedBy(mgr, log).
		Named(controllerName).
		For(&addonsv1.RegistryCache{}).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(toCache), clusterChanges()).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(secretToCache)).
		WatchesRawSource(r.references.source(r.secretToCaches)).
		WatchesRawSource(r.Workloads.Source(controllerName, toCache)).
		WithOptions(options).
		WithEventFilter(predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilterValue)).
		Build(ctx, r)
	if err != nil {
		return fmt.Errorf("setting up the controller of RegistryCache: %w", err)
	}
	r.watcher = c
	return nil
}

func (r *Reconciler) init() {
	r.applier = apply.New()
	r.refusals = newRefusals()
	r.certificates = newCertificates()
	r.usages = newUsages()
	r.Usage.setDefaults()
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
}

// toCache maps a Cluster to its RegistryCache, which has the same name.
func toCache(_ context.Context, cluster client.Object) []ctrl.Request {
	return []ctrl.Request{{NamespacedName: client.ObjectKeyFromObject(cluster)}}
}

// secretToCache maps the Secrets of a RegistryCache to it, so that they are there again when somebody removed them: Machines of a
// template that names the node payload do not boot without, and nodes have to learn of a new authority.
func secretToCache(_ context.Context, secret client.Object) []ctrl.Request {
	cluster := secret.GetLabels()[clusterv1.ClusterNameLabel]
	if name := secret.GetName(); name != addonsv1.NodePayloadName(cluster) && name != addonsv1.AuthorityName(cluster) {
		return nil
	}
	return []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: secret.GetNamespace(), Name: cluster}}}
}

// clusterChanges lets those changes of a Cluster pass that matter to its RegistryCache.
func clusterChanges() predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*clusterv1.Cluster)
		if !ok {
			return false
		}
		after, ok := e.ObjectNew.(*clusterv1.Cluster)
		return ok && !equality.Semantic.DeepEqual(relevant(before), relevant(after))
	}}
}

// relevant is what a RegistryCache needs to know of its Cluster.
func relevant(cluster *clusterv1.Cluster) [6]any {
	return [6]any{
		ptr.Deref(cluster.Spec.Paused, false),
		ptr.Deref(cluster.Status.Initialization.InfrastructureProvisioned, false),
		cluster.DeletionTimestamp.IsZero(),
		cluster.Spec.ClusterNetwork,
		cluster.Spec.ControlPlaneRef.Kind,
		cluster.Spec.ClusterNetwork.ServiceDomain,
	}
}
