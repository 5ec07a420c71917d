package topology

import (
	"context"
	"time"

	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/annotations"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// refusedInterval is when the API server is asked again what it did not accept: quotas and policies change, and tell nobody.
const refusedInterval = 10 * time.Minute

// lookAgain is how soon a Cluster is looked at again whose RegistryCache was not as the manager knew it.
const lookAgain = time.Second

// Reconciler makes RegistryCaches from the variables of Clusters.
type Reconciler struct {
	// Client is the client of the management cluster.
	Client client.Client
	// Recorder writes Events about Clusters.
	Recorder events.EventRecorder
	// WatchFilterValue, if set, limits the controller to Clusters with this value of CAPI's watch label, which the RegistryCaches get too.
	WatchFilterValue string

	schema *variable.Schema
	told   *told
}

// phase is one step of a reconcile. It records facts on the scope.
type phase func(context.Context, *scope) error

// Reconcile brings the RegistryCache of one Cluster to what the variable says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, reterr error) {
	cluster := &clusterv1.Cluster{}
	if err := r.Client.Get(ctx, req.NamespacedName, cluster); err != nil {
		r.told.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{cluster: cluster}
	if err := r.findCache(ctx, s); err != nil || leaveAlone(s) {
		return ctrl.Result{}, err
	}
	defer func() {
		if reterr == nil {
			result, reterr = askAgain(s), r.setStatus(ctx, s)
		}
	}()
	if s.value, s.asked = variable.Of(cluster); !s.asked {
		return ctrl.Result{}, run(ctx, s, r.removeCache)
	}
	return ctrl.Result{}, run(ctx, s, r.yield, r.readVariable, r.writeCache)
}

// run runs phases in order until one fails or says that the rest has nothing to do.
func run(ctx context.Context, s *scope, phases ...phase) error {
	for _, phase := range phases {
		if err := phase(ctx, s); err != nil || s.done {
			return err
		}
	}
	return nil
}

func askAgain(s *scope) ctrl.Result {
	if s.outdated {
		return ctrl.Result{RequeueAfter: lookAgain}
	}
	if s.refusal != nil && s.refusal.reason == addonsv1.VariableRejectedReason {
		return ctrl.Result{RequeueAfter: refusedInterval}
	}
	return ctrl.Result{}
}

func (r *Reconciler) findCache(ctx context.Context, s *scope) error {
	rc := &addonsv1.RegistryCache{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.cluster), rc)
	if err == nil {
		s.cache = rc
	}
	return client.IgnoreNotFound(err)
}

// leaveAlone says whether nothing may be changed: clusterctl pauses Clusters to move them, and what is going is not for us to mend. A
// RegistryCache that is going wakes us when it is gone.
func leaveAlone(s *scope) bool {
	switch {
	case !s.cluster.DeletionTimestamp.IsZero() || annotations.IsPaused(s.cluster, s.cluster):
		return true
	case s.cache == nil:
		return false
	default:
		return !s.cache.DeletionTimestamp.IsZero() || annotations.HasPaused(s.cache)
	}
}
