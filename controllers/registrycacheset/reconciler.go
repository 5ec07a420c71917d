package registrycacheset

import (
	"context"
	"time"

	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/finalizers"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/cluster-api/util/paused"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycachesets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycachesets/status,verbs=patch
// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles RegistryCacheSets.
type Reconciler struct {
	// Client is the client of the management cluster. It reads from the memory of the manager.
	Client client.Client
	// APIReader reads from the API server of the management cluster.
	APIReader client.Reader
	// Recorder writes Events about RegistryCacheSets.
	Recorder events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// WatchFilterValue, if set, limits the controller to objects with this value of CAPI's watch label.
	WatchFilterValue string

	refusals   *refusals
	foreground foreground
}

// phase is one step of a reconcile. It records facts on the scope.
type phase func(context.Context, *scope) (ctrl.Result, error)

// Reconcile brings the RegistryCaches of one set to the wanted state.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, reterr error) {
	set := &addonsv1.RegistryCacheSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, set); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if _, moved := set.Annotations[clusterctlv1.DeleteForMoveAnnotation]; moved && !set.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // what it made is another management cluster's by now
	}
	if added, err := finalizers.EnsureFinalizer(ctx, r.Client, set, addonsv1.RegistryCacheSetFinalizer); err != nil || added {
		return ctrl.Result{}, err
	}
	if isPaused, requeue, err := paused.EnsurePausedCondition(ctx, r.Client, nil, set); err != nil || isPaused || requeue {
		return ctrl.Result{}, err
	}
	helper, err := patch.NewHelper(set, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	s := &scope{set: set, watched: r.WatchFilterValue, now: r.Clock.Now()}
	defer func() {
		s.err = reterr
		before := appliedMessage(set)
		setStatus(s)
		r.tellOverruled(s, before)
		reterr = kerrors.NewAggregate([]error{reterr, helper.Patch(ctx, set, patchOptions(reterr)...)})
		if reterr != nil {
			result = ctrl.Result{}
		}
	}()
	if s.deleting() {
		return run(ctx, s, r.lookAround, r.removeAll, r.releaseFinalizer)
	}
	return run(ctx, s, r.rememberAge, r.lookAround, each(r.applyCaches, r.removeCaches, r.letGo))
}

// run runs phases in order until one fails or says that the rest has nothing to do. The earliest requeue counts.
func run(ctx context.Context, s *scope, phases ...phase) (ctrl.Result, error) {
	result := ctrl.Result{}
	for _, phase := range phases {
		next, err := phase(ctx, s)
		if err != nil {
			return ctrl.Result{}, err
		}
		result = util.LowestNonZeroResult(result, next)
		if s.done {
			break
		}
	}
	return result, nil
}

// each is a phase of phases that do not need each other: one that fails keeps no other from running.
func each(phases ...phase) phase {
	return func(ctx context.Context, s *scope) (ctrl.Result, error) {
		var errs []error
		result := ctrl.Result{}
		for _, phase := range phases {
			next, err := phase(ctx, s)
			result, errs = util.LowestNonZeroResult(result, next), append(errs, err)
		}
		return result, kerrors.NewAggregate(errs)
	}
}

// rememberAge writes down since when the set exists: clusterctl move and backups keep annotations, and give objects a new creation time.
func (r *Reconciler) rememberAge(_ context.Context, s *scope) (ctrl.Result, error) {
	if _, ok := s.set.Annotations[addonsv1.SetSinceAnnotation]; !ok {
		setKey(&s.set.Annotations, addonsv1.SetSinceAnnotation, s.set.CreationTimestamp.UTC().Format(time.RFC3339))
	}
	return ctrl.Result{}, nil
}

func patchOptions(err error) []patch.Option {
	owned := patch.WithOwnedConditions{Conditions: []string{
		addonsv1.ReadyCondition, addonsv1.AppliedCondition, addonsv1.RegistryCachesReadyCondition, addonsv1.PausedCondition,
	}}
	if err != nil {
		return []patch.Option{owned}
	}
	return []patch.Option{owned, patch.WithStatusObservedGeneration{}}
}
