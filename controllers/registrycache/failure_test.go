package registrycache_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestNothingIsDoneWhileTheClusterIsPaused(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.96/28")
	f.pause(true)
	f.create("docker.io")
	f.eventually(addonsv1.PausedCondition, metav1.ConditionTrue, clusterv1.PausedReason)
	settled := f.writes()
	f.Consistently(f.writes).Should(Equal(settled))
	f.Expect(f.current().Status.Caches).To(BeEmpty())
	f.pause(false)
	f.eventually(addonsv1.PausedCondition, metav1.ConditionFalse, clusterv1.NotPausedReason)
	f.Eventually(f.get(f.statefulSet("docker.io"))).Should(Succeed())
}

// TestWhatOnlySomeoneElseCanMendIsNotTriedAgain looks at what a reconcile returns: no error and no requeue is no loop.
func TestWhatOnlySomeoneElseCanMendIsNotTriedAgain(t *testing.T) {
	for name, prepare := range map[string]func(f *fixture){
		"there is no Cluster": func(f *fixture) {
			f.create("docker.io")
			f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.ClusterNotFoundReason)
		},
		"the Cluster is paused": func(f *fixture) {
			f.connected("10.77.0.208/28")
			f.pause(true)
			f.create("docker.io")
			f.eventually(addonsv1.PausedCondition, metav1.ConditionTrue, clusterv1.PausedReason)
		},
		"the Cluster cannot be reached": func(f *fixture) {
			f.provisioned("10.77.0.208/28")
			f.create("docker.io")
			f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
		},
		"the Service CIDR is invalid": func(f *fixture) {
			f.provisioned("10.77.0.208/33")
			f.create("docker.io")
			f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionFalse, addonsv1.ServiceCIDRInvalidReason)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			prepare(f)
			f.Eventually(func() (ctrl.Result, error) {
				return reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(f.cache)})
			}).Should(Equal(ctrl.Result{}), "the controller's own reconcile may be under way at the same time")
		})
	}
}

func (f *fixture) pause(paused bool) {
	f.t.Helper()
	before := f.cluster.DeepCopy()
	f.cluster.Spec.Paused = ptr.To(paused)
	f.Expect(env.Client.Patch(f.t.Context(), f.cluster, client.MergeFrom(before))).To(Succeed())
}

// TestARejectedCacheDoesNotKeepTheOthersFromRunning guards I5.
func TestARejectedCacheDoesNotKeepTheOthersFromRunning(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.112/28")
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	f.cache.Spec = addonsv1.RegistryCacheSpec{Namespace: f.namespace, Caches: caches("docker.io", "quay.io")}
	f.cache.Spec.Caches[0].Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
	}
	f.createCache()
	f.ready("quay.io")
	condition := f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.ApplyFailedReason)
	f.Expect(condition.Message).To(And(ContainSubstring("docker.io"), ContainSubstring("StatefulSet"), ContainSubstring("must be less than or equal to cpu limit")))
	f.Expect(f.get(f.statefulSet("docker.io"))()).To(notFound())
	f.Eventually(func() int32 { return ptr.Deref(f.current().Status.Caches[1].ReadyReplicas, 0) }).Should(Equal(int32(1)))
	f.Eventually(func(g Gomega) {
		settled := f.writes()
		g.Consistently(f.writes).Should(Equal(settled), "what only the user can mend is not tried in a loop")
	}).Should(Succeed())
}

func TestAnObjectOfSomeoneElseIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	foreign := f.secret("docker.io")
	foreign.Data = map[string][]byte{"theirs": []byte("1")}
	f.Expect(env.Client.Create(t.Context(), foreign)).To(Succeed())
	f.connected("10.77.0.128/28")
	f.create("docker.io")
	condition := f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.ApplyFailedReason)
	f.Expect(condition.Message).To(ContainSubstring("not managed by capi-registry-cache"))
	f.Expect(f.get(foreign)()).To(Succeed())
	f.Expect(foreign.Data).To(HaveLen(1))
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.get(foreign)()).To(Succeed())
}

func TestWhatHasAnAddressRunsWhenTheBandIsExhausted(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.144/30")
	f.create("docker.io", "quay.io")
	f.ready("docker.io")
	condition := f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionFalse, addonsv1.AddressesExhaustedReason)
	f.Expect(condition.Message).To(And(ContainSubstring("cidrBlocks"), ContainSubstring("10.77.0.144/30")))
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.CachesNotAvailableReason)
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.146:5000", ""}))
	f.Expect(f.get(f.service("quay.io"))()).To(notFound())
}

func TestAnInvalidServiceCIDRIsSaidWithFieldAndValue(t *testing.T) {
	f := newFixture(t)
	f.connected("10.0.0/24")
	f.create("docker.io")
	condition := f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionFalse, addonsv1.ServiceCIDRInvalidReason)
	f.Expect(condition.Message).To(And(ContainSubstring("cidrBlocks[0]"), ContainSubstring(`"10.0.0/24"`), ContainSubstring("accepted")))
	f.Expect(f.get(f.service("docker.io"))()).To(notFound())
}

// TestAnUnreachableClusterKeepsWhatRunsAndHoldsADeletionOnlyUntilTheDeadline guards I5 and I8.
func TestAnUnreachableClusterKeepsWhatRunsAndHoldsADeletionOnlyUntilTheDeadline(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.160/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")

	clusters.set(f.cluster, false)
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.Expect(f.endpoints()).To(Equal([]string{"https://10.77.0.174:5000"}))
	f.Expect(f.get(f.statefulSet("docker.io"))()).To(Succeed())

	f.delete(f.cache)
	deleted := time.Now()
	f.Consistently(f.get(f.cache)).Should(Succeed())
	f.Eventually(f.get(f.cache), 2*deletionTimeout).Should(notFound())
	f.Expect(time.Since(deleted)).To(BeNumerically(">", deletionTimeout-2*time.Second))
}

// TestADeletionDoesNotWait guards I8.
func TestADeletionDoesNotWait(t *testing.T) {
	for name, prepare := range map[string]func(*fixture){
		"for a Cluster that does not exist":          func(*fixture) {},
		"for a Cluster that was never provisioned":   func(f *fixture) { f.cluster = env.CreateCluster(f.t, f.namespace, "c") },
		"for the objects in a Cluster that is going": (*fixture).goingCluster,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			prepare(f)
			f.create("docker.io")
			f.Eventually(func() []string { return f.current().Finalizers }).ShouldNot(BeEmpty())
			f.Eventually(func() []metav1.Condition { return f.current().Status.Conditions }).ShouldNot(BeEmpty())
			f.delete(f.cache)
			f.Eventually(f.get(f.cache), deletionTimeout/2).Should(notFound())
		})
	}
}

// goingCluster has a Cluster that a finalizer keeps, and that cannot be reached.
func (f *fixture) goingCluster() {
	f.cluster = env.CreateCluster(f.t, f.namespace, "c", func(c *clusterv1.Cluster) { c.Finalizers = []string{"test.example.com/keep"} })
	env.MarkProvisioned(f.t, f.cluster)
	f.delete(f.cluster)
}

func TestAClusterThatGoesReleasesADeletionThatWaits(t *testing.T) {
	f := newFixture(t)
	f.cluster = env.CreateCluster(t, f.namespace, "c", func(c *clusterv1.Cluster) { c.Finalizers = []string{"test.example.com/keep"} })
	env.MarkProvisioned(t, f.cluster)
	f.create("docker.io")
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.delete(f.cache)
	f.Consistently(f.get(f.cache), time.Second).Should(Succeed())
	f.delete(f.cluster)
	f.Eventually(f.get(f.cache), deletionTimeout/2).Should(notFound())
}
