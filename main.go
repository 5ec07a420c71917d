// Command manager runs the registry-cache add-on provider in a management cluster: the controllers that run
// pull-through caches in workload clusters and the webhook that tells new Machines of them. Its sub-command inject
// shows what the webhook would do with bootstrap data, without a cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsv1 "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/remote"
	"sigs.k8s.io/cluster-api/core/setup"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/cluster-api/util/apiwarnings"
	"sigs.k8s.io/cluster-api/util/flags"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
)

const (
	managerName      = "capi-registry-cache-manager"
	leaderElectionID = "capi-registry-cache-manager-leader-election"

	// defaultWorkloadImage is what the image build of a checkout makes; releases set --workload-image.
	defaultWorkloadImage = "capi-registry-cache/workload:dev"

	// cacheSyncTimeout is longer than the default of controller-runtime, for management clusters with many objects.
	cacheSyncTimeout = 5 * time.Minute
)

// options is what the flags say. Names, defaults and meaning are those of the managers of Cluster API.
type options struct {
	controllers controllers.Options
	manager     flags.ManagerOptions
	logs        *logs.Options

	leaderElect                               bool
	leaseDuration, renewDeadline, retryPeriod time.Duration

	namespace           string
	profilerAddress     string
	contentionProfiling bool
	healthAddress       string
	syncPeriod          time.Duration
	qps                 float32
	burst               int

	webhook webhook.Options
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

func main() {
	if len(os.Args) > 1 && os.Args[1] == injectCommand {
		os.Exit(inject(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err := run(); err != nil {
		klog.Background().Error(err, "Manager stopped")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func run() error {
	o := &options{logs: logs.NewOptions()}
	if err := o.parse(pflag.CommandLine); err != nil {
		return err
	}
	if err := logsv1.ValidateAndApply(o.logs, nil); err != nil {
		return fmt.Errorf("applying the logging flags: %w", err)
	}
	ctrl.SetLogger(klog.Background())
	pflag.CommandLine.VisitAll(func(f *pflag.Flag) { klog.V(1).Infof("FLAG: --%s=%q", f.Name, f.Value) })
	if o.contentionProfiling {
		goruntime.SetBlockProfileRate(1)
	}
	return start(ctrl.SetupSignalHandler(), o)
}

func start(ctx context.Context, o *options) error {
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	if err := addChecks(mgr); err != nil {
		return err
	}
	o.controllers.WatchNamespace = o.namespace
	if err := controllers.SetupWithManager(ctx, mgr, o.controllers); err != nil {
		return fmt.Errorf("setting up the controllers: %w", err)
	}
	klog.Background().Info("Starting manager", "version", version(), "workloadImage", o.controllers.WorkloadImage)
	return mgr.Start(ctx)
}

func newManager(o *options) (ctrl.Manager, error) {
	restConfig, err := o.restConfig()
	if err != nil {
		return nil, err
	}
	managerOptions, err := o.managerOptions()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(restConfig, managerOptions)
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}
	return mgr, nil
}

func (o *options) restConfig() (*rest.Config, error) {
	c, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the management cluster: %w", err)
	}
	c.QPS, c.Burst = o.qps, o.burst
	c.UserAgent = remote.DefaultClusterAPIUserAgent(managerName)
	c.WarningHandler = apiwarnings.DefaultHandler(klog.Background().WithName("API Server Warning"))
	return c, nil
}

// managerOptions takes the cache of Cluster API's core manager: only Secrets of Clusters, and only the kubeconfigs
// among them with their data.
func (o *options) managerOptions() (ctrl.Options, error) {
	tlsOptions, metricsOptions, err := flags.GetManagerOptions(o.manager)
	if err != nil {
		return ctrl.Options{}, fmt.Errorf("reading the TLS and diagnostics flags: %w", err)
	}
	scheme, err := newScheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	o.webhook.TLSOpts = tlsOptions
	server, err := controllers.NewWebhookServer(o.webhook)
	if err != nil {
		return ctrl.Options{}, fmt.Errorf("creating the webhook server: %w", err)
	}
	return ctrl.Options{
		Controller:                 config.Controller{CacheSyncTimeout: cacheSyncTimeout},
		Scheme:                     scheme,
		LeaderElection:             o.leaderElect,
		LeaderElectionID:           leaderElectionID,
		LeaseDuration:              &o.leaseDuration,
		RenewDeadline:              &o.renewDeadline,
		RetryPeriod:                &o.retryPeriod,
		LeaderElectionResourceLock: resourcelock.LeasesResourceLock,
		HealthProbeBindAddress:     o.healthAddress,
		PprofBindAddress:           o.profilerAddress,
		Metrics:                    *metricsOptions,
		Cache:                      setup.ManagerCacheOptions(scheme, managerName, o.namespace, o.syncPeriod),
		Client:                     setup.ManagerClientOptions(),
		WebhookServer:              server,
	}, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return scheme, nil
}

func addChecks(mgr ctrl.Manager) error {
	started := mgr.GetWebhookServer().StartedChecker()
	if err := mgr.AddReadyzCheck("webhook", started); err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}
	if err := mgr.AddHealthzCheck("webhook", started); err != nil {
		return fmt.Errorf("adding the health check: %w", err)
	}
	return nil
}

// version is the version of the main module, "(devel)" for a build from a checkout without a tag.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func (o *options) parse(fs *pflag.FlagSet) error {
	o.addControllerFlags(fs)
	o.addLeaderElectionFlags(fs)
	o.addClientFlags(fs)
	o.addServingFlags(fs)
	logsv1.AddFlags(o.logs, fs)
	flags.AddManagerOptions(fs, &o.manager)
	feature.MutableGates.AddFlag(fs)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	fs.AddGoFlagSet(flag.CommandLine)
	if err := fs.Set("v", "2"); err != nil {
		return fmt.Errorf("setting the default log level: %w", err)
	}
	return fs.Parse(os.Args[1:])
}

func (o *options) addControllerFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.namespace, "namespace", "", "Namespace that is watched. If unspecified, all namespaces are watched.")
	fs.StringVar(&o.controllers.WatchFilterValue, "watch-filter", "",
		fmt.Sprintf("Value of the label %s that objects must have to be reconciled. If unspecified, all are.", clusterv1.WatchLabel))
	fs.StringVar(&o.controllers.WorkloadImage, "workload-image", defaultWorkloadImage, "Image of the caches in workload clusters.")
	fs.IntVar(&o.controllers.RegistryCacheConcurrency, "registrycache-concurrency", 10, "Number of RegistryCaches to process simultaneously.")
	fs.IntVar(&o.controllers.RegistryCacheSetConcurrency, "registrycacheset-concurrency", 10, "Number of RegistryCacheSets to process simultaneously.")
	fs.IntVar(&o.controllers.TopologyConcurrency, "topology-concurrency", 10, "Number of Clusters to process simultaneously for their variable "+v1alpha1.ClusterVariable+".")
	fs.DurationVar(&o.controllers.NodeForgetTimeout, "node-forget-timeout", controllers.DefaultNodeForgetTimeout,
		"How long a removed cache is kept for nodes that have not forgotten it, such as those that are not ready.")
	fs.DurationVar(&o.controllers.CertificateOverlap, "certificate-overlap", controllers.DefaultCertificateOverlap,
		"How long nodes go on to trust the certificate authority that was replaced, after the caches got certificates of the new one.")
	fs.DurationVar(&o.controllers.UnreachableDeletionTimeout, "unreachable-deletion-timeout", controllers.DefaultUnreachableDeletionTimeout,
		"Time that a deleted RegistryCache waits for a workload cluster that cannot be reached, before its objects there are given up.")
	o.controllers.BootstrapData.AddFlags(fs)
	fs.IntVar(&o.controllers.ClusterCacheConcurrency, "clustercache-concurrency", 100, "Number of clusters to connect to simultaneously.")
	fs.Float32Var(&o.controllers.ClusterCacheClientQPS, "clustercache-client-qps", 20,
		"Maximum queries per second to the API server of each workload cluster.")
	fs.IntVar(&o.controllers.ClusterCacheClientBurst, "clustercache-client-burst", 30,
		"Maximum number of queries in one burst to the API server of each workload cluster.")
}

func (o *options) addLeaderElectionFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Elect a leader, so that only one manager reconciles. The webhook runs in all.")
	fs.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second, "Time that other candidates wait before they take over leadership.")
	fs.DurationVar(&o.renewDeadline, "leader-elect-renew-deadline", 10*time.Second, "Time that the leader tries to renew leadership before it gives up.")
	fs.DurationVar(&o.retryPeriod, "leader-elect-retry-period", 2*time.Second, "Time between two tries of an action of leader election.")
}

func (o *options) addClientFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.syncPeriod, "sync-period", 10*time.Minute, "Minimum interval at which watched objects are reconciled.")
	fs.Float32Var(&o.qps, "kube-api-qps", 100, "Maximum queries per second to the API server of the management cluster.")
	fs.IntVar(&o.burst, "kube-api-burst", 200, "Maximum number of queries in one burst to the API server of the management cluster.")
}

func (o *options) addServingFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.profilerAddress, "profiler-address", "", "Address of the pprof profiler, such as localhost:6060. If unspecified, it does not run.")
	fs.BoolVar(&o.contentionProfiling, "contention-profiling", false, "Profile blocking.")
	fs.IntVar(&o.webhook.Port, "webhook-port", 9443, "Port of the webhook server.")
	fs.StringVar(&o.webhook.CertDir, "webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs/", "Directory of the certificate of the webhook server.")
	fs.StringVar(&o.webhook.CertName, "webhook-cert-name", "tls.crt", "File name of that certificate.")
	fs.StringVar(&o.webhook.KeyName, "webhook-key-name", "tls.key", "File name of its key.")
	fs.StringVar(&o.healthAddress, "health-addr", ":9440", "Address of the health and readiness endpoints.")
}
