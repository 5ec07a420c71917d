package topology_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/yaml"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/topology"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

const (
	patience = 20 * time.Second
	quiet    = 500 * time.Millisecond
)

// env is one API server for all tests, which use a namespace each.
var env *envtest.Environment

func TestMain(m *testing.M) { os.Exit(envtest.Run(m, &env)) }

// started is a controller that runs, with the rights that are shipped.
type started struct {
	reconciler *topology.Reconciler
	writes     *writeCounter
}

// start runs the controller until the test ends, and all of its subtests.
func start(t *testing.T, watchFilter string) *started {
	t.Helper()
	g := NewWithT(t)
	s := &started{writes: &writeCounter{}}
	mgr := env.NewManager(t, env.WithoutWebhook, func(o *ctrl.Options) {
		o.NewClient = func(config *rest.Config, options client.Options) (client.Client, error) {
			c, err := client.New(config, options)
			return &countingClient{Client: c, writes: s.writes}, err
		}
	})
	s.reconciler = &topology.Reconciler{Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("test"), WatchFilterValue: watchFilter}
	g.Expect(s.reconciler.SetupWithManager(t.Context(), mgr, controller.Options{MaxConcurrentReconciles: 4})).To(Succeed())
	env.Start(t, mgr, false)
	return s
}

// fixture is a namespace with, or for, a Cluster named "c".
type fixture struct {
	*WithT
	*started
	t         *testing.T
	namespace string
	cluster   *clusterv1.Cluster
}

func newFixture(t *testing.T, s *started) *fixture {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultConsistentlyDuration(quiet)
	g.SetDefaultConsistentlyPollingInterval(100 * time.Millisecond)
	return &fixture{WithT: g, started: s, t: t, namespace: env.CreateNamespace(t)}
}

func (f *fixture) key() client.ObjectKey { return client.ObjectKey{Namespace: f.namespace, Name: "c"} }

// create creates the Cluster, with a value for the variable unless it is "".
func (f *fixture) create(value string, mutate ...func(*clusterv1.Cluster)) {
	f.t.Helper()
	set := func(c *clusterv1.Cluster) {
		c.Spec.Topology = clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: envtest.KubernetesVersion}
		f.setVariable(c, value)
	}
	f.cluster = env.CreateCluster(f.t, f.namespace, "c", append([]func(*clusterv1.Cluster){set}, mutate...)...)
}

func (f *fixture) setVariable(c *clusterv1.Cluster, value string) {
	f.t.Helper()
	c.Spec.Topology.Variables = []clusterv1.ClusterVariable{{Name: "other", Value: apiextensionsv1.JSON{Raw: []byte(`"x"`)}}}
	if value == "" {
		return
	}
	raw, err := yaml.YAMLToJSON([]byte(value))
	f.Expect(err).NotTo(HaveOccurred())
	c.Spec.Topology.Variables = append(c.Spec.Topology.Variables, clusterv1.ClusterVariable{Name: "registryCache", Value: apiextensionsv1.JSON{Raw: raw}})
}

// set changes the variable, and takes it away for "".
func (f *fixture) set(value string) {
	f.t.Helper()
	f.updateCluster(func(c *clusterv1.Cluster) { f.setVariable(c, value) })
}

func (f *fixture) updateCluster(change func(*clusterv1.Cluster)) {
	f.t.Helper()
	c := &clusterv1.Cluster{}
	f.Expect(env.Client.Get(f.t.Context(), f.key(), c)).To(Succeed())
	before := c.DeepCopy()
	change(c)
	f.Expect(env.Client.Patch(f.t.Context(), c, client.MergeFrom(before))).To(Succeed())
}

// cache is the RegistryCache as it is, nil if there is none.
func (f *fixture) cache() *addonsv1.RegistryCache {
	f.t.Helper()
	rc := &addonsv1.RegistryCache{}
	err := env.Client.Get(f.t.Context(), f.key(), rc)
	f.Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err != nil {
		return nil
	}
	return rc
}

// upstreams are those of the caches, "none" if there is no RegistryCache.
func (f *fixture) upstreams() []string {
	f.t.Helper()
	rc := f.cache()
	if rc == nil {
		return []string{"none"}
	}
	list := []string{}
	for _, cache := range rc.Spec.Caches {
		list = append(list, cache.Upstream)
	}
	return list
}

// handWritten creates a RegistryCache as a user would.
func (f *fixture) handWritten(mutate ...func(*addonsv1.RegistryCache)) *addonsv1.RegistryCache {
	f.t.Helper()
	rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "by.hand"}}
	for _, m := range mutate {
		m(rc)
	}
	f.Expect(env.Client.Create(f.t.Context(), rc)).To(Succeed())
	return rc
}

func (f *fixture) updateCache(change func(*addonsv1.RegistryCache)) {
	f.t.Helper()
	rc := f.cache()
	before := rc.DeepCopy()
	change(rc)
	f.Expect(env.Client.Patch(f.t.Context(), rc, client.MergeFrom(before))).To(Succeed())
}

// condition is VariableApplied as status and reason, "" if there is none.
func (f *fixture) condition() string {
	f.t.Helper()
	c := f.applied()
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s", c.Status, c.Reason)
}

func (f *fixture) applied() *metav1.Condition {
	f.t.Helper()
	rc := f.cache()
	if rc == nil {
		return nil
	}
	return conditions.Get(rc, addonsv1.VariableAppliedCondition)
}

// events are those about the Cluster, reason and note.
func (f *fixture) events() []string {
	f.t.Helper()
	list := &eventsv1.EventList{}
	f.Expect(env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace))).To(Succeed())
	var events []string
	for _, event := range list.Items {
		f.Expect(event.Regarding.Kind).To(Equal("Cluster"))
		f.Expect(event.Series).To(BeNil(), "the Event is told once: %s", event.Note)
		events = append(events, event.Reason+": "+event.Note)
	}
	return events
}

// staysSilent guards I6: a reconcile with nothing new writes nothing, and tells nothing.
func (f *fixture) staysSilent() {
	f.t.Helper()
	f.Eventually(func() []string { return f.reconcileOnce() }).Should(BeEmpty(), "the controller's cache has caught up")
	f.Eventually(func(g Gomega) {
		events := f.events() // they are written in the background
		g.Consistently(f.events, quiet).Should(ConsistOf(events))
	}).Should(Succeed())
	events := f.events()
	for range 3 {
		f.Expect(f.reconcileOnce()).To(BeEmpty())
	}
	f.Consistently(f.events, quiet).Should(ConsistOf(events))
}

// reconcileOnce returns what was written meanwhile.
func (f *fixture) reconcileOnce() []string {
	before := len(f.writes.of(f.namespace))
	if _, err := f.reconciler.Reconcile(f.t.Context(), ctrl.Request{NamespacedName: f.key()}); err != nil {
		return []string{err.Error()}
	}
	return f.writes.of(f.namespace)[before:]
}

// writeCounter counts writes as they leave the client, by namespace.
type writeCounter struct {
	mu       sync.Mutex
	requests map[string][]string
}

func (w *writeCounter) add(verb string, obj client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests == nil {
		w.requests = map[string][]string{}
	}
	w.requests[obj.GetNamespace()] = append(w.requests[obj.GetNamespace()], fmt.Sprintf("%s %T %s", verb, obj, obj.GetName()))
}

func (w *writeCounter) of(namespace string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[namespace]
}

// countingClient tells the counter of everything that writes.
type countingClient struct {
	client.Client
	writes *writeCounter
}

func (c *countingClient) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	c.writes.add("create", obj)
	return c.Client.Create(ctx, obj, opts...)
}

func (c *countingClient) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	c.writes.add("update", obj)
	return c.Client.Update(ctx, obj, opts...)
}

func (c *countingClient) Patch(ctx context.Context, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
	c.writes.add("patch", obj)
	return c.Client.Patch(ctx, obj, p, opts...)
}

func (c *countingClient) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	c.writes.add("delete", obj)
	return c.Client.Delete(ctx, obj, opts...)
}

func (c *countingClient) Status() client.SubResourceWriter {
	return &countingStatus{SubResourceWriter: c.Client.Status(), writes: c.writes}
}

type countingStatus struct {
	client.SubResourceWriter
	writes *writeCounter
}

func (c *countingStatus) Patch(ctx context.Context, obj client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	c.writes.add("patch status", obj)
	return c.SubResourceWriter.Patch(ctx, obj, p, opts...)
}
