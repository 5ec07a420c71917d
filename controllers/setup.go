package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/controllers/remote"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycacheset"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/topology"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	name = "capi-registry-cache"

	// DefaultUnreachableDeletionTimeout is used if Options.UnreachableDeletionTimeout is 0.
	DefaultUnreachableDeletionTimeout = 10 * time.Minute

	// DefaultNodeForgetTimeout is used if Options.NodeForgetTimeout is 0.
	DefaultNodeForgetTimeout = 5 * time.Minute

	// DefaultCertificateOverlap is used if Options.CertificateOverlap is 0. A Secret that changed is in a running Pod after two minutes at
	// most, as kubelet has its defaults.
	DefaultCertificateOverlap = 10 * time.Minute

	// reportTimeout bounds the question to one Pod; there may be ten of them in a reconcile.
	reportTimeout = 2 * time.Second
	// longestReport is more than any is, in bytes.
	longestReport = 1 << 20
)

// Options is what the controllers can be told. The zero value of a number means its default.
type Options struct {
	// WorkloadImage is the image of caches whose spec names none.
	WorkloadImage string
	// WatchFilterValue, if set, limits the controllers to objects with this value of CAPI's watch label.
	WatchFilterValue string
	// RegistryCacheConcurrency is how many RegistryCaches are reconciled at a time.
	RegistryCacheConcurrency int
	// RegistryCacheSetConcurrency is how many RegistryCacheSets are reconciled at a time.
	RegistryCacheSetConcurrency int
	// TopologyConcurrency is how many Clusters are looked at for their variable at a time.
	TopologyConcurrency int
	// ClusterCacheConcurrency is how many workload clusters are connected at a time.
	ClusterCacheConcurrency int
	// ClusterCacheClientQPS and ClusterCacheClientBurst limit the requests to each workload cluster.
	ClusterCacheClientQPS   float32
	ClusterCacheClientBurst int
	// UnreachableDeletionTimeout is how long a deleted RegistryCache waits for its objects in the workload
	// cluster to be gone.
	UnreachableDeletionTimeout time.Duration
	// BootstrapData limits the size of bootstrap data with the caches in it. Nothing is told of large data if WarnBytes is 0.
	BootstrapData webhooks.Limits
	// NodeForgetTimeout is how long a removed cache is kept for nodes that have not forgotten it.
	NodeForgetTimeout time.Duration
	// CertificateOverlap is how long nodes go on to trust a certificate authority after the last certificate of it was replaced.
	CertificateOverlap time.Duration
	// WatchNamespace limits the controllers to objects of a namespace; "" does not.
	WatchNamespace string
	// SecretClient reads the kubeconfigs of workload clusters. The default reads from the cache of the manager.
	SecretClient client.Reader
}

// SetupWithManager adds everything that runs to the manager.
func SetupWithManager(ctx context.Context, mgr ctrl.Manager, o Options) error {
	o.setDefaults()
	clusters, err := clusterCache(ctx, mgr, o)
	if err != nil {
		return fmt.Errorf("setting up the ClusterCache: %w", err)
	}
	reconciler := &registrycache.Reconciler{
		Client:                     mgr.GetClient(),
		APIReader:                  mgr.GetAPIReader(),
		Workloads:                  workloads{clusters},
		Recorder:                   mgr.GetEventRecorder(name),
		WorkloadImage:              o.WorkloadImage,
		WatchFilterValue:           o.WatchFilterValue,
		UnreachableDeletionTimeout: o.UnreachableDeletionTimeout,
		NodeForgetTimeout:          o.NodeForgetTimeout,
		CertificateOverlap:         o.CertificateOverlap,
		WatchNamespace:             o.WatchNamespace,
	}
	if err := reconciler.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.RegistryCacheConcurrency}); err != nil {
		return err
	}
	err = metrics.Register(&metrics.Collector{
		Reader: mgr.GetClient(), WatchFilter: o.WatchFilterValue, Elected: mgr.Elected(), Expiry: reconciler.Expiry,
	})
	if err != nil {
		return fmt.Errorf("registering the metrics of RegistryCaches: %w", err)
	}
	sets := &registrycacheset.Reconciler{
		Client:           mgr.GetClient(),
		APIReader:        mgr.GetAPIReader(),
		Recorder:         mgr.GetEventRecorder(name),
		WatchFilterValue: o.WatchFilterValue,
	}
	if err := sets.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.RegistryCacheSetConcurrency}); err != nil {
		return err
	}
	variables := &topology.Reconciler{Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder(name), WatchFilterValue: o.WatchFilterValue}
	if err := variables.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.TopologyConcurrency}); err != nil {
		return err
	}
	return webhooks.SetupWithManager(ctx, mgr, o.BootstrapData)
}

func (o *Options) setDefaults() {
	if o.UnreachableDeletionTimeout == 0 {
		o.UnreachableDeletionTimeout = DefaultUnreachableDeletionTimeout
	}
	if o.NodeForgetTimeout == 0 {
		o.NodeForgetTimeout = DefaultNodeForgetTimeout
	}
	if o.CertificateOverlap == 0 {
		o.CertificateOverlap = DefaultCertificateOverlap
	}
	if o.BootstrapData.MaxBytes == 0 {
		o.BootstrapData.MaxBytes = webhooks.DefaultMaxBytes
	}
}

func clusterCache(ctx context.Context, mgr ctrl.Manager, o Options) (clustercache.ClusterCache, error) {
	secrets := o.SecretClient
	if secrets == nil {
		cached, err := client.New(mgr.GetConfig(), client.Options{
			HTTPClient: mgr.GetHTTPClient(),
			Scheme:     mgr.GetScheme(),
			Cache:      &client.CacheOptions{Reader: mgr.GetCache()},
		})
		if err != nil {
			return nil, fmt.Errorf("creating a client for kubeconfigs: %w", err)
		}
		secrets = cached
	}
	return clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient:     secrets,
		WatchFilterValue: o.WatchFilterValue,
		Cache:            workloadCache(),
		Client: clustercache.ClientOptions{
			QPS:       o.ClusterCacheClientQPS,
			Burst:     o.ClusterCacheClientBurst,
			UserAgent: remote.DefaultClusterAPIUserAgent(name),
		},
	}, controller.Options{MaxConcurrentReconciles: o.ClusterCacheConcurrency})
}

// workloadCache holds nothing of a workload cluster but our objects, and of our Secrets no content, so that its size
// does not grow with the cluster.
func workloadCache() clustercache.CacheOptions {
	options := clustercache.CacheOptions{
		DefaultTransform: ctrlcache.TransformStripManagedFields(),
		ByObject:         map[client.Object]ctrlcache.ByObject{},
	}
	for _, kind := range registrycache.WorkloadKinds() {
		by := ctrlcache.ByObject{Label: manifests.Selector()}
		switch kind.(type) {
		case *corev1.Secret, *corev1.ConfigMap:
			by.Transform = withoutContent
		}
		options.ByObject[kind] = by
	}
	return options
}

func withoutContent(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Secret:
		o.Data, o.ManagedFields = nil, nil
	case *corev1.ConfigMap:
		o.Data, o.ManagedFields = nil, nil
	}
	return obj, nil
}

// workloads adapts the ClusterCache to what registrycache needs.
type workloads struct {
	clusters clustercache.ClusterCache
}

func (w workloads) GetClient(ctx context.Context, cluster client.ObjectKey) (client.Client, error) {
	c, err := w.clusters.GetClient(ctx, cluster)
	return c, translate(err)
}

func (w workloads) GetUncachedClient(ctx context.Context, cluster client.ObjectKey) (client.Client, error) {
	c, err := w.clusters.GetUncachedClient(ctx, cluster)
	return c, translate(err)
}

// NodeReport asks by way of the API server, so the Pod needs no credentials, and no way in from elsewhere.
func (w workloads) NodeReport(ctx context.Context, cluster, pod client.ObjectKey) ([]byte, error) {
	return w.ask(ctx, cluster, pod, manifests.NodeSyncPort, "/report")
}

// CacheReport asks as NodeReport does.
func (w workloads) CacheReport(ctx context.Context, cluster, pod client.ObjectKey) ([]byte, error) {
	return w.ask(ctx, cluster, pod, manifests.DebugPort, report.Path)
}

func (w workloads) ask(ctx context.Context, cluster, pod client.ObjectKey, port int, path string) ([]byte, error) {
	config, err := w.clusters.GetRESTConfig(ctx, cluster)
	if err != nil {
		return nil, translate(err)
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for Pod %s: %w", pod, err)
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	answer, err := core.Pods(pod.Namespace).ProxyGet("http", pod.Name, strconv.Itoa(port), path, nil).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer answer.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(answer, longestReport))
}

func (w workloads) Watch(ctx context.Context, cluster client.ObjectKey, watch registrycache.Watch) error {
	return translate(w.clusters.Watch(ctx, cluster, clustercache.NewWatcher(clustercache.WatcherOptions{
		Name:         watch.Name,
		Watcher:      watch.Watcher,
		Kind:         watch.Kind,
		EventHandler: watch.Handler,
	})))
}

func (w workloads) Source(controllerName string, toRequests func(context.Context, client.Object) []ctrl.Request) source.Source {
	return w.clusters.GetClusterSource(controllerName, toRequests)
}

func translate(err error) error {
	if errors.Is(err, clustercache.ErrClusterNotConnected) {
		return errors.Join(registrycache.ErrNotConnected, err)
	}
	return err
}
