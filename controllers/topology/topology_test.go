package topology_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/origin"
)

const one = `{caches: [{upstream: docker.io, volume: {size: 10240Mi}}]}`

// TestTheVariable runs the subtests beside each other: most of their time is waiting.
func TestTheVariable(t *testing.T) {
	running := start(t, "")
	for name, test := range map[string]func(*fixture){
		"becomes a RegistryCache that follows it and goes with it":        followed,
		"is nothing to a Cluster without it":                              absent,
		"gives way to a RegistryCache that is hand-written":               beaten,
		"loses a RegistryCache that a user takes into their own hands":    takenByHand,
		"takes over the RegistryCache of a Set in place (I2)":             takesOver,
		"takes over the RegistryCache of a Cluster that there was before": inherits,
		"changes nothing while the Cluster is paused":                     pausedCluster,
		"changes nothing while the RegistryCache is paused":               pausedCache,
		"changes nothing while the Cluster goes":                          goingCluster,
		"waits for a RegistryCache that goes":                             goingCache,
		"is told of when it is bad, and the last good state runs on (I5)": bad,
		"is told of when the API server refuses the change (I5)":          immutable,
		"holds no password that is told (I7)":                             secretive,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newFixture(t, running))
		})
	}
}

func followed(f *fixture) {
	f.create(one)
	f.Eventually(f.upstreams).Should(Equal([]string{"docker.io"}))
	f.Eventually(f.condition).Should(Equal("True Applied"))
	made := f.cache()
	f.Expect(made.OwnerReferences).To(Equal([]metav1.OwnerReference{{
		APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: "c", UID: f.cluster.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
	}}))
	f.Expect(made.Labels).To(BeEmpty())
	f.Expect(made.Spec.Caches[0].Volume.Size.String()).To(Equal("10Gi"))
	f.Expect(made.Status.Conditions).To(HaveLen(1), "no other condition is ours")
	f.staysSilent()

	f.set(`{caches: [{upstream: docker.io, replicas: 2}, {upstream: quay.io}], mirrors: [{upstream: ghcr.io, hosts: [{host: "https://m.test"}]}]}`)
	f.Eventually(f.upstreams).Should(Equal([]string{"docker.io", "quay.io"}))
	f.Expect(f.cache().UID).To(Equal(made.UID))
	f.Expect(f.cache().Spec.Caches[0].Replicas).To(Equal(ptr.To(int32(2))))
	f.staysSilent()
	f.set(one)
	f.Eventually(func() []addonsv1.Mirror { return f.cache().Spec.Mirrors }).Should(BeEmpty(), "what the variable does not say any more goes")
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.Expect(f.cache().Spec.Caches[0].Replicas).To(Equal(ptr.To(int32(1))))

	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].Upstream = "by.hand" })
	f.Eventually(f.upstreams).Should(Equal([]string{"docker.io"}), "a change that is not in the variable is taken back")
	f.loseCondition()
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.staysSilent()

	f.set("")
	f.Eventually(f.upstreams).Should(Equal([]string{"none"}))
	f.staysSilent()
	f.Expect(f.events()).To(ContainElements(HavePrefix("RegistryCacheCreated: "), HavePrefix("RegistryCacheUpdated: "), HavePrefix("RegistryCacheDeleted: ")))
}

// loseCondition is what happens to the status of an object that is moved or restored.
func (f *fixture) loseCondition() {
	rc := f.cache()
	before := rc.DeepCopy()
	rc.Status.Conditions = nil
	f.Expect(env.Client.Status().Patch(f.t.Context(), rc, client.MergeFrom(before))).To(Succeed())
}

func absent(f *fixture) {
	f.create("")
	f.staysSilent()
	f.handWritten()
	f.staysSilent()
	f.Expect(f.condition()).To(BeEmpty())
	f.Expect(f.events()).To(BeEmpty())
}

func beaten(f *fixture) {
	written := f.handWritten()
	f.create(one)
	f.Eventually(f.condition).Should(Equal("False HandWritten"))
	f.Expect(f.applied().Message).To(ContainSubstring("is hand-written"))
	f.Expect(f.applied().Message).To(ContainSubstring("accepted is to take the variable away, or to delete the RegistryCache"))
	f.Eventually(f.events).Should(ConsistOf(HavePrefix("VariableHandWritten: The RegistryCache is hand-written")))
	f.staysSilent()
	f.set(`{caches: [{upstream: quay.io}]}`)
	f.staysSilent()
	f.Expect(f.cache().Spec).To(Equal(written.Spec))
	f.Expect(f.cache().OwnerReferences).To(BeEmpty())
	f.set(`{nonsense: 1}`)
	f.staysSilent()
	f.Expect(f.condition()).To(Equal("False HandWritten"), "a bad value does not matter before it counts")

	f.set(one)
	f.Expect(env.Client.Delete(f.t.Context(), written)).To(Succeed())
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.Expect(origin.Of(f.cache())).To(Equal(origin.Variable))
}

func takenByHand(f *fixture) {
	f.create(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.updateCache(func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences[0].Controller = nil
		rc.Spec.Caches[0].Upstream = "by.hand"
	})
	f.Eventually(f.condition).Should(Equal("False HandWritten"))
	f.staysSilent()
	f.set("")
	f.Eventually(f.condition).Should(BeEmpty())
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"by.hand"}), "it outlives the variable")

	f.updateCache(func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Application", Name: "caches", UID: "1", Controller: ptr.To(true)}}
	})
	f.set(one)
	f.Eventually(f.condition).Should(Equal("False HandWritten"))
	f.Expect(f.applied().Message).To(HavePrefix("The RegistryCache is kept by Application caches, so"))
}

// set is what the controller of RegistryCacheSets makes, after the controller of RegistryCaches has joined the Cluster.
func ofSet(cluster *clusterv1.Cluster) func(rc *addonsv1.RegistryCache) {
	return func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: addonsv1.GroupVersion.String(), Kind: "RegistryCacheSet", Name: "all", UID: "1", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)},
			{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: cluster.Name, UID: cluster.UID},
		}
		rc.Labels = map[string]string{addonsv1.SetLabel: "all", "tier": "one"}
		rc.Annotations = map[string]string{addonsv1.SetMetadataAnnotation: `{"labels":["tier"]}`}
		rc.Finalizers = []string{addonsv1.RegistryCacheFinalizer}
		rc.Spec.Mirrors = []addonsv1.Mirror{{Upstream: "ghcr.io", Hosts: []addonsv1.MirrorHost{{Host: "https://m.test"}}}}
	}
}

func takesOver(f *fixture) {
	f.create("")
	before := f.handWritten(ofSet(f.cluster))
	f.staysSilent()
	f.Expect(origin.Of(f.cache())).To(Equal(origin.Set))
	f.set(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	after := f.cache()
	f.Expect(after.UID).To(Equal(before.UID))
	f.Expect(after.Finalizers).To(Equal(before.Finalizers))
	f.Expect(after.OwnerReferences).To(HaveLen(1))
	f.Expect(metav1.IsControlledBy(after, f.cluster)).To(BeTrue())
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.Expect(after.Spec.Mirrors).To(BeEmpty())
	f.Expect(after.Labels).To(Equal(map[string]string{"tier": "one"}), "the mark of the set is gone")
	f.Expect(after.Annotations).To(BeEmpty())
	f.Eventually(f.events).Should(ConsistOf(HavePrefix("RegistryCacheTakenOver: The RegistryCache of RegistryCacheSet all is made from")))
	f.staysSilent()
	f.set("")
	f.Eventually(func() *metav1.Time { return f.cache().DeletionTimestamp }).ShouldNot(BeNil(), "the Set makes it anew when it is gone")
	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Finalizers = nil })
	f.Eventually(f.upstreams).Should(Equal([]string{"none"}))
}

func inherits(f *fixture) {
	before := f.handWritten(func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: "c", UID: "before", Controller: ptr.To(true)}}
	})
	f.create(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.Expect(f.cache().UID).To(Equal(before.UID))
	f.Expect(metav1.IsControlledBy(f.cache(), f.cluster)).To(BeTrue())
	f.Expect(f.cache().OwnerReferences).To(HaveLen(1))
	f.staysSilent()
}

func pausedCluster(f *fixture) {
	f.create(one, func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"none"}))
	f.updateCluster(func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	f.Eventually(f.condition).Should(Equal("True Applied"))

	f.updateCluster(func(c *clusterv1.Cluster) { c.Annotations = map[string]string{clusterv1.PausedAnnotation: ""} })
	f.staysSilent()
	f.set("")
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.updateCluster(func(c *clusterv1.Cluster) { c.Annotations = nil })
	f.Eventually(f.upstreams).Should(Equal([]string{"none"}))
}

func pausedCache(f *fixture) {
	f.create(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Annotations = map[string]string{clusterv1.PausedAnnotation: ""} })
	f.staysSilent()
	f.set(`{caches: [{upstream: quay.io}]}`)
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Annotations = nil })
	f.Eventually(f.upstreams).Should(Equal([]string{"quay.io"}))
}

func goingCluster(f *fixture) {
	f.create(one, func(c *clusterv1.Cluster) { c.Finalizers = []string{clusterv1.ClusterFinalizer} })
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.Expect(env.Client.Delete(f.t.Context(), f.cluster)).To(Succeed())
	f.set("")
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}), "garbage collection removes it after the Cluster")
	f.updateCluster(func(c *clusterv1.Cluster) { c.Finalizers = nil })
	f.staysSilent()
}

func goingCache(f *fixture) {
	f.create(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Finalizers = []string{addonsv1.RegistryCacheFinalizer} })
	before := f.cache()
	f.Expect(env.Client.Delete(f.t.Context(), before)).To(Succeed())
	f.set(`{caches: [{upstream: quay.io}]}`)
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.updateCache(func(rc *addonsv1.RegistryCache) { rc.Finalizers = nil })
	f.Eventually(f.upstreams).Should(Equal([]string{"quay.io"}), "the variable is still there, so it is made again")
	f.Expect(f.cache().UID).NotTo(Equal(before.UID))
}

func bad(f *fixture) {
	f.create(`{caches: [{upstream: docker.io, sise: 5Gi}]}`)
	const told = `VariableInvalid: spec.topology.variables[registryCache].value.caches[0].sise: Invalid value: "unknown field": there is no such field; accepted are caBundleSecretRef,`
	f.Eventually(f.events).Should(ConsistOf(HavePrefix(told)))
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"none"}))

	f.set(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.set(`{caches: [{upstream: "https://quay.io"}]}`)
	f.Eventually(f.condition).Should(Equal("False Invalid"))
	f.Expect(f.applied().Message).To(HavePrefix(`spec.topology.variables[registryCache].value.caches[0].upstream: Invalid value: "https://quay.io": upstream: https://quay.io is not host[:port]; accepted are`))
	f.staysSilent()
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	f.set(`{caches: [{upstream: quay.io}]}`)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.Expect(f.upstreams()).To(Equal([]string{"quay.io"}))
	f.set(`{caches: [{upstream: quay.io, remoteURL: "` + strings.Repeat("ä", 510) + `"}]}`)
	f.Eventually(f.condition).Should(Equal("False Invalid"))
	f.Eventually(f.events).Should(ContainElement(HaveSuffix("...")), "an Event takes no more than 1024 bytes")
	f.set("")
	f.Eventually(f.upstreams).Should(Equal([]string{"none"}))
}

func immutable(f *fixture) {
	f.create(`{namespace: one, caches: [{upstream: docker.io, volume: {size: 10Gi}}]}`)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.set(`{namespace: two, caches: [{upstream: docker.io, volume: {size: 5Gi}}, {upstream: quay.io}]}`)
	f.Eventually(f.condition).Should(Equal("False Rejected"))
	f.Expect(f.applied().Message).To(And(
		ContainSubstring(`spec.topology.variables[registryCache].value.namespace: Invalid value: "two": spec.namespace: two cannot replace one, the field is immutable`),
		ContainSubstring(`spec.topology.variables[registryCache].value.caches[0].volume: Invalid value`),
		ContainSubstring(`volume.size: 5Gi is smaller than 10Gi; accepted is the same size or more`),
	))
	f.Eventually(f.events).Should(ContainElement(And(HavePrefix("VariableRejected: "), ContainSubstring("cannot replace one"))))
	f.Expect(f.upstreams()).To(Equal([]string{"docker.io"}))
	settled := f.events()
	result, err := f.reconciler.Reconcile(f.t.Context(), f.request())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(result.RequeueAfter).To(BeNumerically(">=", 5*60e9), "it is asked again, but not in a loop")
	f.Consistently(f.events).Should(ConsistOf(settled))
	f.Expect(f.cache().Spec.Namespace).To(Equal("one"))
}

func secretive(f *fixture) {
	f.create(`{caches: [{upstream: docker.io, remoteURL: "https://me:hunter2@hub.test", proxy: {httpProxy: "http://me:hunter2@proxy"}}]}`)
	f.Eventually(f.events).Should(ConsistOf(ContainSubstring("https://***@hub.test is not the URL of a registry")))
	f.set(one)
	f.Eventually(f.condition).Should(Equal("True Applied"))
	f.set(`{caches: [{upstream: docker.io, proxy: {httpsProxy: "http://me:hunter2@proxy"}}]}`)
	f.Eventually(f.condition).Should(Equal("False Invalid"))
	f.Expect(f.applied().Message).NotTo(ContainSubstring("hunter2"))
	f.Eventually(f.events).Should(ContainElement(ContainSubstring("http://***@proxy is not the URL of a proxy")))
	f.Expect(f.events()).NotTo(ContainElement(ContainSubstring("hunter2")))
}

// TestAManagerWithAWatchFilterLooksAtItsClustersOnly also labels what it makes, or no manager would look after it.
func TestAManagerWithAWatchFilterLooksAtItsClustersOnly(t *testing.T) {
	running := start(t, "some")
	other, ours := newFixture(t, running), newFixture(t, running)
	other.create(one)
	ours.create(one, func(c *clusterv1.Cluster) { c.Labels = map[string]string{clusterv1.WatchLabel: "some"} })
	ours.Eventually(ours.condition).Should(Equal("True Applied"))
	ours.Expect(ours.cache().Labels).To(HaveKeyWithValue(clusterv1.WatchLabel, "some"))
	ours.updateCache(func(rc *addonsv1.RegistryCache) { rc.Labels = nil })
	ours.Eventually(func() map[string]string { return ours.cache().Labels }).Should(HaveKeyWithValue(clusterv1.WatchLabel, "some"))
	ours.staysSilent()
	other.handWritten()
	other.Consistently(other.condition).Should(BeEmpty())
	other.Expect(other.events()).To(BeEmpty())
	other.updateCluster(func(c *clusterv1.Cluster) { c.Labels = map[string]string{clusterv1.WatchLabel: "some"} })
	other.Eventually(other.condition).Should(Equal("False HandWritten"), "it is ours from now on")
}

// TestANewManagerDoesNotTellAgain starts another manager after the first: what is in the condition was told already.
func TestANewManagerDoesNotTellAgain(t *testing.T) {
	var f *fixture
	t.Run("first", func(t *testing.T) {
		f = newFixture(t, start(t, ""))
		f.handWritten()
		f.create(one)
		f.Eventually(f.events).Should(HaveLen(1))
		f.Eventually(f.condition).Should(Equal("False HandWritten"))
	})
	again := newFixture(t, start(t, ""))
	again.namespace, again.cluster = f.namespace, f.cluster
	again.staysSilent()
	again.Expect(again.events()).To(HaveLen(1))
	again.Expect(conditions.Get(again.cache(), addonsv1.ReadyCondition)).To(BeNil())
}

// TestTheVariableIsJudgedAsTheAPIServerJudges compares what is said here of a value with what the API server says of the RegistryCache.
func TestTheVariableIsJudgedAsTheAPIServerJudges(t *testing.T) {
	f := newFixture(t, nil)
	for _, value := range judged {
		ours, theirs := f.judge(value)
		f.Expect(ours).To(Equal(theirs), value)
	}
	f.Expect(apierrors.IsNotFound(env.Client.Get(t.Context(), f.key(), &addonsv1.RegistryCache{}))).To(BeTrue(), "it was a dry run")
}
