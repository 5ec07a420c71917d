package registrycache_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const (
	patience = 20 * time.Second
	quiet    = 3 * time.Second
)

// fixture is a namespace with, or for, a Cluster named "c" and its RegistryCache.
type fixture struct {
	*WithT
	t         *testing.T
	namespace string
	cluster   *clusterv1.Cluster
	cache     *addonsv1.RegistryCache
}

// newFixture lets the test run beside others: most of its time is waiting.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	return newLoneFixture(t)
}

// newLoneFixture is for tests that change what all see, such as Nodes.
func newLoneFixture(t *testing.T) *fixture {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultConsistentlyDuration(quiet)
	g.SetDefaultConsistentlyPollingInterval(100 * time.Millisecond)
	f := &fixture{WithT: g, t: t, namespace: env.CreateNamespace(t)}
	t.Cleanup(f.freeAddresses)
	return f
}

// freeAddresses removes the Services that a test leaves behind, for tests that run again.
func (f *fixture) freeAddresses() {
	list := &corev1.ServiceList{}
	_ = env.Client.List(context.Background(), list, client.InNamespace(f.namespace))
	for i := range list.Items {
		_ = env.Client.Delete(context.Background(), &list.Items[i])
	}
}

// provisioned creates a Cluster with a Service CIDR and provisioned infrastructure; an empty CIDR is unknown.
func (f *fixture) provisioned(cidr string) {
	f.t.Helper()
	f.cluster = env.CreateCluster(f.t, f.namespace, "c", func(c *clusterv1.Cluster) {
		if cidr != "" {
			c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{cidr}
		}
	})
	env.MarkProvisioned(f.t, f.cluster)
}

// connected is provisioned, and connects it.
func (f *fixture) connected(cidr string) {
	f.t.Helper()
	f.provisioned(cidr)
	clusters.set(f.cluster, true)
}

// create creates a RegistryCache for the upstreams, in the namespace of the Cluster on both sides. It is deleted when
// the test ends.
func (f *fixture) create(upstreams ...string) {
	f.t.Helper()
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	f.cache.Spec.Namespace = f.namespace
	f.cache.Spec.Caches = caches(upstreams...)
	f.createCache()
}

func (f *fixture) createCache() {
	f.t.Helper()
	f.Expect(env.Client.Create(f.t.Context(), f.cache)).To(Succeed())
	f.t.Cleanup(func() { _ = env.Client.Delete(context.Background(), f.cache) })
}

func caches(upstreams ...string) []addonsv1.Cache {
	var caches []addonsv1.Cache
	for _, upstream := range upstreams {
		caches = append(caches, addonsv1.Cache{Upstream: upstream})
	}
	return caches
}

// update changes the RegistryCache as a user would.
func (f *fixture) update(change func(*addonsv1.RegistryCache)) {
	f.t.Helper()
	before := f.current()
	after := before.DeepCopy()
	change(after)
	f.Expect(env.Client.Patch(f.t.Context(), after, client.MergeFrom(before))).To(Succeed())
}

func (f *fixture) current() *addonsv1.RegistryCache {
	f.t.Helper()
	rc := &addonsv1.RegistryCache{}
	f.Expect(env.Client.Get(f.t.Context(), client.ObjectKeyFromObject(f.cache), rc)).To(Succeed())
	return rc
}

// endpoints are those in the status, in order.
func (f *fixture) endpoints() []string {
	f.t.Helper()
	var endpoints []string
	for _, entry := range f.current().Status.Caches {
		endpoints = append(endpoints, entry.Endpoint)
	}
	return endpoints
}

// eventually waits for a condition to have a status and a reason. Conditions are patched before the rest of the status.
func (f *fixture) eventually(condition string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	f.t.Helper()
	var got *metav1.Condition
	f.Eventually(func(g Gomega) {
		got = conditions.Get(f.current(), condition)
		g.Expect(got).NotTo(BeNil())
		g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{string(status), reason}), got.Message)
	}).Should(Succeed())
	return got
}

func (f *fixture) service(upstream string) *corev1.Service {
	return &corev1.Service{ObjectMeta: f.meta(upstream)}
}

func (f *fixture) statefulSet(upstream string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: f.meta(upstream)}
}

func (f *fixture) secret(upstream string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: f.meta(upstream)}
}

func (f *fixture) meta(upstream string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: f.namespace, Name: manifests.ServiceName(upstream)}
}

// get reads an object from the workload cluster, for Eventually.
func (f *fixture) get(obj client.Object) func() error {
	return func() error { return env.Client.Get(f.t.Context(), client.ObjectKeyFromObject(obj), obj) }
}

// clusterIP is the address of a Service in the workload cluster.
func (f *fixture) clusterIP(upstream string) string {
	service := f.service(upstream)
	if err := f.get(service)(); err != nil {
		return err.Error()
	}
	return service.Spec.ClusterIP
}

// ready does the work of the StatefulSet controller and of kubelet.
func (f *fixture) ready(upstreams ...string) {
	f.t.Helper()
	for _, upstream := range upstreams {
		set := f.statefulSet(upstream)
		f.Eventually(f.get(set)).Should(Succeed())
		set.Status.Replicas, set.Status.ReadyReplicas = 1, 1
		f.Expect(env.Client.Status().Update(f.t.Context(), set)).To(Succeed())
	}
}

// claim does the work of the StatefulSet controller; the API server puts a finalizer on it.
func (f *fixture) claim(upstream string) *corev1.PersistentVolumeClaim {
	f.t.Helper()
	set := f.statefulSet(upstream)
	f.Eventually(f.get(set)).Should(Succeed())
	template := set.Spec.VolumeClaimTemplates[0]
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.namespace, Name: template.Name + "-" + set.Name + "-0", Labels: template.Labels,
	}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim.Spec.Resources.Requests = template.Spec.Resources.Requests
	claim.Spec.StorageClassName = template.Spec.StorageClassName
	f.Expect(env.Client.Create(f.t.Context(), claim)).To(Succeed())
	return claim
}

// release does the work of the controller that protects claims in use.
func (f *fixture) release(claim *corev1.PersistentVolumeClaim) {
	f.t.Helper()
	f.Expect(f.get(claim)()).To(Succeed())
	claim.Finalizers = nil
	f.Expect(env.Client.Update(f.t.Context(), claim)).To(Succeed())
}

// events are the reasons of the Events about the RegistryCache.
func (f *fixture) events() []string {
	list := &eventsv1.EventList{}
	if err := env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace)); err != nil {
		return []string{err.Error()}
	}
	var reasons []string
	for _, event := range list.Items {
		reasons = append(reasons, event.Reason)
	}
	return reasons
}

func (f *fixture) delete(obj client.Object) {
	f.t.Helper()
	f.Expect(env.Client.Delete(f.t.Context(), obj)).To(Succeed())
}

// notFound matches the error of an object that is gone.
func notFound() gomegatypes.GomegaMatcher {
	return MatchError(ContainSubstring("not found"))
}
