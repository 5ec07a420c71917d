package registrycacheset_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycacheset"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

const (
	patience = 40 * time.Second
	// quiet is longer than CAPI's rate limit of one reconcile a second for an object.
	quiet = 2 * time.Second

	// held keeps a RegistryCache, as the finalizer of its own controller does, which does not run here.
	held = "test.example.com/held"
)

var (
	env    *envtest.Environment
	writes = &writeCounter{of: map[string][]string{}}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// All of them at once, as they wait and compute little. What is said on the command line comes first.
	if err := flag.Set("test.parallel", "32"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return envtest.Run(m, &env)
}

// TestRegistryCacheSets runs the controller, with the rights of the shipped role, at a real API server. There is no garbage collector and
// no controller of RegistryCaches; tests do what of their work matters.
func TestRegistryCacheSets(t *testing.T) {
	mgr := env.NewManager(t, func(o *ctrl.Options) { o.NewClient = writes.newClient })
	reconciler := &registrycacheset.Reconciler{Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("test")}
	NewWithT(t).Expect(reconciler.SetupWithManager(t.Context(), mgr, controller.Options{MaxConcurrentReconciles: 8})).To(Succeed())
	env.Start(t, mgr, false)
	for name, test := range map[string]func(*fixture){
		"a Cluster gets, keeps and loses its RegistryCache":         lifecycle,
		"labels and annotations follow the template":                metadata,
		"the older of two sets wins":                                twoSets,
		"hand-written RegistryCaches come first":                    handWritten,
		"the variable of a topology comes before a set":             variable,
		"what the API server rejects leaves the last good state":    rejection,
		"a selector that cannot be read gives nothing up":           badSelector,
		"paused Clusters are left alone":                            pausedCluster,
		"a paused set does nothing":                                 pausedSet,
		"a set goes after its RegistryCaches":                       deletion,
		"a set that is deleted in the foreground leaves none":       foreground,
		"a set that is deleted with orphans leaves them":            orphans,
		"a set that clusterctl deletes after a move removes none":   deletedForMove,
		"a set that clusterctl has moved writes nothing":            moved,
		"100 Clusters cost one write each, and then none":           manyClusters,
		"a RegistryCache goes when its Cluster is gone, not before": clusterDeletion,
	} {
		t.Run(name, func(t *testing.T) { test(newFixture(t)) })
	}
}

// fixture is a namespace of a test that runs beside others: most of its time is waiting.
type fixture struct {
	*WithT
	t         *testing.T
	namespace string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultConsistentlyDuration(quiet)
	g.SetDefaultConsistentlyPollingInterval(100 * time.Millisecond)
	return &fixture{WithT: g, t: t, namespace: env.CreateNamespace(t)}
}

func (f *fixture) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: f.namespace, Name: name}
}

func (f *fixture) create(obj client.Object) {
	f.t.Helper()
	f.Expect(env.Client.Create(f.t.Context(), obj)).To(Succeed())
}

// cluster creates a Cluster with the label that sets of tests select.
func (f *fixture) cluster(name string, mutate ...func(*clusterv1.Cluster)) *clusterv1.Cluster {
	f.t.Helper()
	cluster := &clusterv1.Cluster{ObjectMeta: f.meta(name)}
	cluster.Labels = map[string]string{"caches": "yes"}
	cluster.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{Host: "127.0.0.1", Port: 6443}
	for _, m := range mutate {
		m(cluster)
	}
	f.create(cluster)
	return cluster
}

// set creates a set of these upstreams for the Clusters with the label.
func (f *fixture) set(name string, mutate ...func(*addonsv1.RegistryCacheSet)) *addonsv1.RegistryCacheSet {
	f.t.Helper()
	set := &addonsv1.RegistryCacheSet{ObjectMeta: f.meta(name)}
	set.Spec.ClusterSelector.MatchLabels = map[string]string{"caches": "yes"}
	set.Spec.Template.Spec.Caches = caches("docker.io")
	for _, m := range mutate {
		m(set)
	}
	f.create(set)
	return set
}

func caches(upstreams ...string) []addonsv1.Cache {
	var caches []addonsv1.Cache
	for _, upstream := range upstreams {
		caches = append(caches, addonsv1.Cache{Upstream: upstream})
	}
	return caches
}

// change changes an object as a user would.
func change[T client.Object](f *fixture, obj T, mutate func(T)) {
	f.t.Helper()
	f.Expect(f.get(obj)()).To(Succeed())
	before, _ := obj.DeepCopyObject().(client.Object)
	mutate(obj)
	f.Expect(env.Client.Patch(f.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

func annotate(obj client.Object, key, value string) {
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	obj.SetAnnotations(annotations)
}

func (f *fixture) get(obj client.Object) func() error {
	return func() error { return env.Client.Get(f.t.Context(), client.ObjectKeyFromObject(obj), obj) }
}

func (f *fixture) delete(obj client.Object, options ...client.DeleteOption) {
	f.t.Helper()
	f.Expect(env.Client.Delete(f.t.Context(), obj, options...)).To(Succeed())
}

// cache waits until the RegistryCache of a Cluster is that of the set, and as its template says.
func (f *fixture) cache(set *addonsv1.RegistryCacheSet, name string) *addonsv1.RegistryCache {
	f.t.Helper()
	rc := &addonsv1.RegistryCache{ObjectMeta: f.meta(name)}
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(set)()).To(Succeed())
		g.Expect(f.get(rc)()).To(Succeed())
		g.Expect(metav1.IsControlledBy(rc, set)).To(BeTrue(), "%v", rc.OwnerReferences)
		g.Expect(rc.Spec).To(Equal(set.Spec.Template.Spec))
	}).Should(Succeed())
	return rc
}

// gone waits until there is no RegistryCache of this name.
func (f *fixture) gone(name string) {
	f.t.Helper()
	f.Eventually(f.get(&addonsv1.RegistryCache{ObjectMeta: f.meta(name)})).Should(MatchError(ContainSubstring("not found")))
}

// none sees to it that there is no RegistryCache of this name, and that none comes.
func (f *fixture) none(name string) {
	f.t.Helper()
	f.Consistently(f.get(&addonsv1.RegistryCache{ObjectMeta: f.meta(name)})).Should(MatchError(ContainSubstring("not found")))
}

// stays sees to it that a RegistryCache is not changed.
func (f *fixture) stays(rc *addonsv1.RegistryCache) {
	f.t.Helper()
	now := rc.DeepCopy()
	f.Consistently(func(g Gomega) {
		g.Expect(f.get(now)()).To(Succeed())
		g.Expect(now.ResourceVersion).To(Equal(rc.ResourceVersion))
	}).Should(Succeed())
}

// holds puts a finalizer on a RegistryCache, and releases takes it off.
func (f *fixture) holds(rc *addonsv1.RegistryCache) {
	f.t.Helper()
	change(f, rc, func(rc *addonsv1.RegistryCache) { rc.Finalizers = []string{held} })
}

func (f *fixture) releases(rc *addonsv1.RegistryCache) {
	f.t.Helper()
	change(f, rc, func(rc *addonsv1.RegistryCache) { rc.Finalizers = nil })
}

// deleting waits until somebody has deleted a RegistryCache that is held.
func (f *fixture) deleting(rc *addonsv1.RegistryCache) {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(rc)()).To(Succeed())
		g.Expect(rc.DeletionTimestamp).NotTo(BeNil())
	}).Should(Succeed())
}

// ready does the work of the controller of RegistryCaches.
func (f *fixture) ready(rc *addonsv1.RegistryCache) {
	f.t.Helper()
	f.Expect(f.get(rc)()).To(Succeed())
	conditions.Set(rc, metav1.Condition{Type: addonsv1.ReadyCondition, Status: metav1.ConditionTrue, Reason: "Ready"})
	f.Expect(env.Client.Status().Update(f.t.Context(), rc)).To(Succeed())
}

// eventually waits for a condition to have a status, a reason and words in its message.
func (f *fixture) eventually(set *addonsv1.RegistryCacheSet, condition string, status metav1.ConditionStatus, reason string, words ...string) {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(set)()).To(Succeed())
		got := conditions.Get(set, condition)
		g.Expect(got).NotTo(BeNil())
		g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{string(status), reason}), got.Message)
		for _, word := range words {
			g.Expect(got.Message).To(ContainSubstring(word))
		}
	}).Should(Succeed())
}

// counts waits for the counts of a set.
func (f *fixture) counts(set *addonsv1.RegistryCacheSet, matched, ready int32) {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(set)()).To(Succeed())
		g.Expect(set.Status.MatchedClusters).To(HaveValue(Equal(matched)))
		g.Expect(set.Status.ReadyClusters).To(HaveValue(Equal(ready)))
	}).Should(Succeed())
}

// told waits for an Event about a set.
func (f *fixture) told(set *addonsv1.RegistryCacheSet, reason, words string) {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		list := &eventsv1.EventList{}
		g.Expect(env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace))).To(Succeed())
		g.Expect(list.Items).To(ContainElement(And(
			HaveField("Reason", reason), HaveField("Note", ContainSubstring(words)), HaveField("Regarding.UID", set.UID),
		)))
	}).Should(Succeed())
}

// silent guards I6: reconciles that find nothing to do write nothing.
func (f *fixture) silent(set *addonsv1.RegistryCacheSet) {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		g.Consistently(func() []string { return writes.in(f.namespace) }).WithTimeout(quiet).Should(Equal(writes.in(f.namespace)))
	}).Should(Succeed())
	before := writes.in(f.namespace)
	for i := range 2 {
		change(f, set, func(s *addonsv1.RegistryCacheSet) { annotate(s, "resync", fmt.Sprint(i)) })
		f.Consistently(func() []string { return writes.in(f.namespace) }).Should(Equal(before))
	}
}
