package registrycache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	deletionTimeout = 10 * time.Second
	forgetTimeout   = 8 * time.Second
	overlap         = 5 * time.Second
	workloadImage   = "registry.example.com/workload:test"

	// logLevel is the most talkative one below that at which client-go logs the bodies of answers, Secrets as well.
	logLevel = 7
)

// usageTimes are short. What is compared are whole seconds, of Events and of reports.
var usageTimes = registrycache.UsageTimes{
	Quiet: time.Second, Look: 200 * time.Millisecond, LookAgain: 200 * time.Millisecond, Settle: time.Second, Apart: time.Second, Margin: time.Millisecond,
}

// One API server is the management cluster and every workload cluster; tests differ in namespace and CIDR.
var (
	env        *envtest.Environment
	clusters   *fakeClusters
	reconciler *registrycache.Reconciler
	writes     = &writeCounter{}
	logged     = &logBuffer{}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(logged), textlogger.Verbosity(logLevel))))
	var err error
	if env, err = envtest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = env.Stop() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := addServiceCIDR(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stopped, err := start(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	cancel()
	<-stopped
	return code
}

// addServiceCIDR gives the API server a range of which 256 addresses, those that tests use, are never assigned by itself.
func addServiceCIDR(ctx context.Context) error {
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "test"}}
	cidr.Spec.CIDRs = []string{"10.77.0.0/20"}
	if err := env.Client.Create(ctx, cidr); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"}}
		probe.Spec = corev1.ServiceSpec{ClusterIP: "10.77.0.2", Ports: []corev1.ServicePort{{Port: 80}}}
		return env.Client.Create(ctx, probe) == nil, nil
	})
}

func start(ctx context.Context) (<-chan struct{}, error) {
	config := rest.CopyConfig(env.Config)
	config.Wrap(writes.wrap)
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: env.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		return nil, err
	}
	if clusters, err = newFakeClusters(ctx, config); err != nil {
		return nil, err
	}
	reconciler = &registrycache.Reconciler{
		Client:                     mgr.GetClient(),
		APIReader:                  mgr.GetAPIReader(),
		Workloads:                  clusters,
		Recorder:                   mgr.GetEventRecorder("test"),
		WorkloadImage:              workloadImage,
		UnreachableDeletionTimeout: deletionTimeout,
		NodeForgetTimeout:          forgetTimeout,
		CertificateOverlap:         overlap,
		Usage:                      usageTimes,
	}
	if err := reconciler.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: 4}); err != nil {
		return nil, err
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return stopped, nil
}

// fakeClusters is a ClusterCache whose workload clusters are all the same API server, connected one by one.
type fakeClusters struct {
	cached, live client.Client
	cache        ctrlcache.Cache
	events       chan event.GenericEvent

	mu        sync.Mutex
	connected map[client.ObjectKey]bool
	watches   map[string]bool
	reports   map[client.ObjectKey]toldReport
	nodes     map[client.ObjectKey]func() []byte
}

func newFakeClusters(ctx context.Context, config *rest.Config) (*fakeClusters, error) {
	byLabel := map[client.Object]ctrlcache.ByObject{}
	for _, kind := range registrycache.WorkloadKinds() {
		byLabel[kind] = ctrlcache.ByObject{Label: manifests.Selector()}
	}
	cache, err := ctrlcache.New(config, ctrlcache.Options{Scheme: env.Scheme, ByObject: byLabel})
	if err != nil {
		return nil, err
	}
	go func() { _ = cache.Start(ctx) }()
	cached, err := client.New(config, client.Options{Scheme: env.Scheme, Cache: &client.CacheOptions{Reader: cache}})
	if err != nil {
		return nil, err
	}
	live, err := client.New(config, client.Options{Scheme: env.Scheme})
	return &fakeClusters{
		cached: cached, live: live, cache: cache, events: make(chan event.GenericEvent, 10),
		connected: map[client.ObjectKey]bool{}, watches: map[string]bool{}, reports: map[client.ObjectKey]toldReport{},
		nodes: map[client.ObjectKey]func() []byte{},
	}, err
}

func (f *fakeClusters) GetClient(_ context.Context, cluster client.ObjectKey) (client.Client, error) {
	return f.cached, f.check(cluster)
}

func (f *fakeClusters) GetUncachedClient(_ context.Context, cluster client.ObjectKey) (client.Client, error) {
	return f.live, f.check(cluster)
}

// NodeReport is what the test says, or that of a node with a trouble.
func (f *fakeClusters) NodeReport(_ context.Context, cluster, pod client.ObjectKey) ([]byte, error) {
	f.mu.Lock()
	document := f.nodes[pod]
	f.mu.Unlock()
	if document != nil {
		return document(), f.check(cluster)
	}
	return []byte(`{"problems":[{"reason":"Conflict","upstream":"docker.io","message":"a trouble of ` + pod.Name + `"}]}`), f.check(cluster)
}

// CacheReport is what the test says, and of a healthy cache if it says nothing.
func (f *fakeClusters) CacheReport(_ context.Context, cluster, pod client.ObjectKey) ([]byte, error) {
	if err := f.check(cluster); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if told, ok := f.reports[pod]; ok {
		return told.document, told.err
	}
	return json.Marshal(healthy())
}

// healthy is the report of a cache that wants for nothing.
func healthy() report.Report {
	return report.Report{Access: report.Access{State: report.AccessAccepted}, Volume: report.Volume{State: report.VolumeUsable}}
}

// toldReport is what a Pod answers.
type toldReport struct {
	document []byte
	err      error
}

func (f *fakeClusters) Watch(_ context.Context, cluster client.ObjectKey, watch registrycache.Watch) error {
	if err := f.check(cluster); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if name := cluster.String() + watch.Name; !f.watches[name] {
		f.watches[name] = true
		return watch.Watcher.Watch(source.Kind(f.cache, watch.Kind, watch.Handler))
	}
	return nil
}

func (f *fakeClusters) Source(_ string, toRequests func(context.Context, client.Object) []ctrl.Request) source.Source {
	return source.Channel(f.events, handler.EnqueueRequestsFromMapFunc(toRequests))
}

func (f *fakeClusters) check(cluster client.ObjectKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.connected[cluster] {
		return fmt.Errorf("getting client: %w", registrycache.ErrNotConnected)
	}
	return nil
}

// set connects or disconnects a workload cluster, and wakes the controller.
func (f *fakeClusters) set(cluster client.Object, connected bool) {
	f.mu.Lock()
	f.connected[client.ObjectKeyFromObject(cluster)] = connected
	f.mu.Unlock()
	f.wake(cluster)
}

// wake lets the controller reconcile without any change.
func (f *fakeClusters) wake(cluster client.Object) {
	copied, _ := cluster.DeepCopyObject().(client.Object)
	f.events <- event.GenericEvent{Object: copied}
}

// logBuffer keeps everything that is logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// tell lets a Pod of a cache report, and wakes the controller, which would ask a little later by itself.
func (f *fakeClusters) tell(cluster client.Object, pod string, told toldReport) {
	f.mu.Lock()
	f.reports[client.ObjectKey{Namespace: cluster.GetNamespace(), Name: pod}] = told
	f.mu.Unlock()
	f.wake(cluster)
}

// writeCounter counts requests that write, as they leave the client, without Events.
type writeCounter struct {
	mu       sync.Mutex
	requests []string
}

func (w *writeCounter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method != http.MethodGet && !strings.Contains(req.URL.Path, "/events") {
			w.mu.Lock()
			w.requests = append(w.requests, req.Method+" "+req.URL.Path)
			w.mu.Unlock()
		}
		return next.RoundTrip(req)
	})
}

// of returns the writes whose path holds the name of a namespace.
func (w *writeCounter) of(namespace string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var of []string
	for _, request := range w.requests {
		if strings.Contains(request, "/"+namespace+"/") {
			of = append(of, request)
		}
	}
	return of
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
