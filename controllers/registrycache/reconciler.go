package registrycache

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/finalizers"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/cluster-api/util/paused"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles RegistryCaches.
type Reconciler struct {
	// Client is the client of the management cluster.
	Client client.Client
	// APIReader reads from the API server of the management cluster.
	APIReader client.Reader
	// Workloads reaches workload clusters.
	Workloads WorkloadClusters
	// Recorder writes Events about RegistryCaches.
	Recorder events.EventRecorder
	// Clock tells the time; deadlines are measured with it.
	Clock clock.PassiveClock
	// WorkloadImage is the image of caches whose spec names none.
	WorkloadImage string
	// WatchFilterValue, if set, limits the controller to objects with this value of CAPI's watch label.
	WatchFilterValue string
	// UnreachableDeletionTimeout is how long a deleted RegistryCache waits for its objects in the workload
	// cluster to be gone, measured from its deletion.
	UnreachableDeletionTimeout time.Duration
	// NodeForgetTimeout is how long what nodes are no longer told of is kept for nodes that have not taken that over.
	NodeForgetTimeout time.Duration
	// CertificateOverlap is how long nodes go on to trust an authority after the last certificate of it was replaced.
	CertificateOverlap time.Duration

	// Usage bounds how soon something is said of the use of caches.
	Usage UsageTimes

	// WatchNamespace limits what is watched to a namespace; "" does not.
	WatchNamespace string

	applier      *apply.Applier
	refusals     *refusals
	certificates *certificates
	references   *references
	usages       *usages
	watcher      watcher
	expiries     expiries
}

// phase is one step of a reconcile. It records facts on the scope.
type phase func(context.Context, *scope) (ctrl.Result, error)

// Reconcile brings one RegistryCache and its workload cluster to the wanted state.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, reterr error) {
	rc := &addonsv1.RegistryCache{}
	if err := r.Client.Get(ctx, req.NamespacedName, rc); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if _, moved := rc.Annotations[clusterctlv1.DeleteForMoveAnnotation]; moved && !rc.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its caches are another management cluster's by now
	}
	if added, err := finalizers.EnsureFinalizer(ctx, r.Client, rc, addonsv1.RegistryCacheFinalizer); err != nil || added {
		return ctrl.Result{}, err
	}
	cluster, err := r.cluster(ctx, rc)
	if err != nil {
		return ctrl.Result{}, err
	}
	if isPaused, requeue, err := paused.EnsurePausedCondition(ctx, r.Client, cluster, rc); err != nil || isPaused || requeue {
		return ctrl.Result{}, err
	}
	helper, err := patch.NewHelper(rc, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	s := &scope{cache: rc, cluster: cluster, helper: helper, now: r.Clock.Now()}
	defer func() {
		s.err = reterr
		setStatus(s)
		rememberAddresses(s)
		r.expiries.put(s)
		reterr = kerrors.NewAggregate(append(s.errors(), reterr, s.helper.Patch(ctx, rc, patchOptions(reterr)...)))
		if reterr != nil {
			result = ctrl.Result{}
		}
	}()
	if s.deleting() {
		return run(ctx, s, r.findCluster, r.publishPayload, r.forgetNodes, r.removeWorkload, r.releaseSecrets, r.releaseFinalizer)
	}
	return run(ctx, s, r.findCluster, r.joinCluster, r.ensureAuthority, r.allocateAddresses, r.trustMirrors, r.publishPayload, r.readSecrets,
		r.connectWorkload, r.applyWorkload, r.syncNodes, r.observeNodes, r.awaitNodes, r.rotateCertificates, r.pruneWorkload, r.observeWorkload,
		r.observeReports, r.observeUsage, r.releaseSecrets)
}

// run runs phases in order until one fails or says that the rest has nothing to do. The earliest requeue counts.
func run(ctx context.Context, s *scope, phases ...phase) (ctrl.Result, error) {
	result := ctrl.Result{}
	for _, phase := range phases {
		next, err := timed(phase)(ctx, s)
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

// cluster returns the Cluster of the same name, nil if there is none.
func (r *Reconciler) cluster(ctx context.Context, rc *addonsv1.RegistryCache) (*clusterv1.Cluster, error) {
	cluster := &clusterv1.Cluster{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(rc), cluster)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return cluster, nil
}

func patchOptions(err error) []patch.Option {
	owned := patch.WithOwnedConditions{Conditions: []string{
		addonsv1.ReadyCondition,
		addonsv1.AddressesAllocatedCondition,
		addonsv1.CertificatesValidCondition,
		addonsv1.CachesAvailableCondition,
		addonsv1.MirrorsValidCondition,
		addonsv1.NodePayloadPublishedCondition,
		addonsv1.NodesConfiguredCondition,
		addonsv1.CredentialsValidCondition,
		addonsv1.VolumesHealthyCondition,
		addonsv1.CacheInUseCondition,
		addonsv1.PausedCondition,
	}}
	if err != nil {
		return []patch.Option{owned}
	}
	return []patch.Option{owned, patch.WithStatusObservedGeneration{}}
}
