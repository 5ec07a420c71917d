package registrycache_test

import (
	"context"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// TestOptionsReachTheWorkloadCluster guards I6 for the objects that only some caches have.
func TestOptionsReachTheWorkloadCluster(t *testing.T) {
	f := newLoneFixture(t)
	f.node("fast-1", func(*corev1.Node) {})
	f.node("slow", func(n *corev1.Node) { n.Labels["disk"] = "slow" })
	f.node("reserved", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "reserved", Effect: corev1.TaintEffectNoSchedule}}
	})
	second := f.node("fast-2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	f.cluster = env.CreateCluster(t, f.namespace, "c", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.77.2.0/28"}
		c.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.99.0.0/16"}
		c.Spec.ClusterNetwork.ServiceDomain = "example.local"
	})
	env.MarkProvisioned(t, f.cluster)
	clusters.set(f.cluster, true)
	f.withOptions()
	set := f.statefulSet("docker.io")
	f.Eventually(f.get(set)).Should(Succeed())
	replicas := func() int32 { _ = f.get(set)(); return *set.Spec.Replicas }
	f.Consistently(replicas).Should(BeEquivalentTo(1), "only one node can take one")
	f.cordon(second, false)
	f.Eventually(replicas).Should(BeEquivalentTo(2))
	f.cordon(second, true)
	f.Consistently(replicas).Should(BeEquivalentTo(2), "what is there stays")
	pod := set.Spec.Template.Spec
	f.Expect(pod.NodeSelector).To(HaveKeyWithValue("disk", "fast"))
	f.Expect(pod.Tolerations).To(ConsistOf(HaveField("Key", "dedicated")))
	f.Expect(pod.Containers[0].Image).To(Equal("registry.example.com/registry:3"))
	f.Expect(pod.Containers[0].Env).To(ContainElements(
		corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"},
		corev1.EnvVar{Name: "NO_PROXY", Value: "localhost,127.0.0.1,::1,.svc,10.99.0.0/16,10.77.2.0/28,example.local,example.com"},
	))
	secret := f.secret("docker.io")
	f.Expect(f.get(secret)()).To(Succeed())
	f.Expect(string(secret.Data["config.yml"])).To(And(ContainSubstring("revalidateafter: 5m0s"), ContainSubstring("highwatermarkpercent: 70")))
	policy, budget := &networkingv1.NetworkPolicy{ObjectMeta: f.meta("docker.io")}, &policyv1.PodDisruptionBudget{ObjectMeta: f.meta("docker.io")}
	f.Eventually(f.get(policy)).Should(Succeed())
	f.Eventually(f.get(budget)).Should(Succeed())
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	f.scalesDown(budget)
	f.removesWhatOptionsMade(policy)
}

// node creates a node that has been ready for a while, has the disk that options ask for, and a taint that they tolerate.
func (f *fixture) node(name string, but func(*corev1.Node)) *corev1.Node {
	f.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux", "disk": "fast"}}}
	node.Spec.Taints = []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoExecute}}
	but(node)
	f.Expect(env.Client.Create(f.t.Context(), node)).To(Succeed())
	f.t.Cleanup(func() { _ = env.Client.Delete(context.Background(), node) })
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Minute)),
	}}
	f.Expect(env.Client.Status().Update(f.t.Context(), node)).To(Succeed())
	// The API server gives every new node a taint, until it is ready.
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeNotReady })
	f.Expect(env.Client.Update(f.t.Context(), node)).To(Succeed())
	return node
}

func (f *fixture) cordon(node *corev1.Node, cordoned bool) {
	f.t.Helper()
	before := node.DeepCopy()
	node.Spec.Unschedulable = cordoned
	f.Expect(env.Client.Patch(f.t.Context(), node, client.MergeFrom(before))).To(Succeed())
	clusters.wake(f.cluster)
}

// withOptions creates a RegistryCache that uses what other tests leave at its default.
func (f *fixture) withOptions() {
	f.t.Helper()
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	f.cache.Spec = addonsv1.RegistryCacheSpec{Namespace: f.namespace, Caches: []addonsv1.Cache{{
		Upstream: "docker.io", Replicas: new(int32(2)), Image: "registry.example.com/registry:3",
		Proxy:             &addonsv1.Proxy{HTTPSProxy: "http://proxy.example.com:3128", NoProxy: "example.com"},
		NodeSelector:      map[string]string{"disk": "fast"},
		Tolerations:       []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
		GarbageCollection: addonsv1.GarbageCollection{HighWatermarkPercent: new(int32(70))},
		RevalidateAfter:   &metav1.Duration{Duration: 5 * time.Minute},
	}}}
	f.cache.Spec.Nodes.Existing = addonsv1.ExistingNodesIgnore // no node here has a kubelet
	f.createCache()
}

// scalesDown leaves the budget and the claim of the second replica behind, and lets options go that are no longer given.
func (f *fixture) scalesDown(budget client.Object) {
	f.t.Helper()
	kept, removed := f.claim("docker.io"), f.claimOf("docker.io", "1")
	f.update(func(rc *addonsv1.RegistryCache) {
		rc.Spec.Caches[0].Replicas, rc.Spec.Caches[0].Proxy = new(int32(1)), nil
		rc.Spec.Caches[0].NodeSelector, rc.Spec.Caches[0].Tolerations = nil, nil
	})
	f.Eventually(f.get(budget)).Should(notFound())
	f.Eventually(func() *metav1.Time { _ = f.get(removed)(); return removed.DeletionTimestamp }).ShouldNot(BeNil())
	f.release(removed)
	f.Expect(f.get(kept)()).To(Succeed())
	f.Expect(kept.DeletionTimestamp).To(BeNil())
	set := f.statefulSet("docker.io")
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(set)()).To(Succeed())
		g.Expect(set.Spec.Replicas).To(HaveValue(BeEquivalentTo(1)))
		g.Expect(set.Spec.Template.Spec.NodeSelector).To(BeEmpty())
		g.Expect(set.Spec.Template.Spec.Tolerations).To(BeEmpty())
		g.Expect(set.Spec.Template.Spec.Containers[0].Env).NotTo(ContainElement(HaveField("Name", "NO_PROXY")))
	}).Should(Succeed())
	f.release(kept)
	f.delete(kept)
}

func (f *fixture) removesWhatOptionsMade(policy client.Object) {
	f.t.Helper()
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.get(policy)()).To(notFound())
	nodeSync := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: manifests.NodeSyncName}}
	f.Expect(f.get(nodeSync)()).To(notFound())
}

// claimOf is the claim of another Pod than the first.
func (f *fixture) claimOf(upstream, ordinal string) *corev1.PersistentVolumeClaim {
	f.t.Helper()
	first := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta(upstream)}
	first.Name = "store-" + first.Name + "-0"
	f.Expect(f.get(first)()).To(Succeed())
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.namespace, Name: first.Name[:len(first.Name)-1] + ordinal, Labels: first.Labels,
	}}
	claim.Spec.AccessModes, claim.Spec.Resources = first.Spec.AccessModes, first.Spec.Resources
	f.Expect(env.Client.Create(f.t.Context(), claim)).To(Succeed())
	return claim
}

// TestAStoreOfAnotherKindBeginsEmpty removes a cache and adds it again, as messages advise, faster than the controller sees.
func TestAStoreOfAnotherKindBeginsEmpty(t *testing.T) {
	for name, tc := range map[string]struct {
		cidr   string
		volume addonsv1.Volume
	}{
		"another class": {"10.77.2.16/28", addonsv1.Volume{StorageClassName: new("fast")}},
		"another type":  {"10.77.2.32/28", addonsv1.Volume{Type: addonsv1.EmptyDirVolume}},
		"a smaller one": {"10.77.2.48/28", addonsv1.Volume{Size: new(resource.MustParse("1Gi"))}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.connected(tc.cidr)
			f.create("docker.io", "quay.io")
			f.ready("docker.io", "quay.io")
			before, other := f.statefulSet("docker.io"), f.claim("quay.io")
			f.Expect(f.get(before)()).To(Succeed())
			claim, address := f.claim("docker.io"), f.clusterIP("docker.io")

			clusters.set(f.cluster, false)
			f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = rc.Spec.Caches[1:] })
			f.update(func(rc *addonsv1.RegistryCache) {
				rc.Spec.Caches = append(rc.Spec.Caches, addonsv1.Cache{Upstream: "docker.io", Volume: tc.volume})
			})
			clusters.set(f.cluster, true)

			after := f.statefulSet("docker.io")
			f.Eventually(func(g Gomega) {
				g.Expect(f.get(after)()).To(Succeed())
				g.Expect(after.UID).NotTo(Equal(before.UID))
			}).Should(Succeed())
			f.Eventually(func() *metav1.Time { _ = f.get(claim)(); return claim.DeletionTimestamp }).ShouldNot(BeNil())
			f.release(claim)
			f.Expect(f.get(other)()).To(Succeed())
			f.Expect(other.DeletionTimestamp).To(BeNil(), "the other cache is not concerned")
			f.Eventually(func() string { return f.clusterIP("docker.io") }).Should(Equal(address))
			f.Eventually(f.events).Should(ContainElement(BeElementOf("CacheReplaced", "CacheRemoved")), "the latter if a reconcile fell between both updates")
			f.ready("docker.io")
			f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
			f.staysSilent()
		})
	}
}

// TestFieldsThatCannotChangeDoNotCostTheStore guards I5: what another version has made is made anew around its Pods and claims.
func TestFieldsThatCannotChangeDoNotCostTheStore(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.96/28")
	f.create("docker.io")
	f.ready("docker.io")
	claim := f.claim("docker.io")
	clusters.set(f.cluster, false)
	old := f.recreated(func(set *appsv1.StatefulSet) { set.Spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement })
	clusters.set(f.cluster, true)

	f.Eventually(func() *metav1.Time { _ = f.get(old)(); return old.DeletionTimestamp }).ShouldNot(BeNil())
	f.Expect(old.Finalizers).To(ConsistOf(metav1.FinalizerOrphanDependents), "its Pods and claims stay")
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.CachesNotAvailableReason)
	old.Finalizers = nil // the work of the garbage collector
	f.Expect(env.Client.Update(t.Context(), old)).To(Succeed())
	set := f.statefulSet("docker.io")
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(set)()).To(Succeed())
		g.Expect(set.Spec.PodManagementPolicy).To(Equal(appsv1.ParallelPodManagement))
	}).Should(Succeed())
	f.Expect(f.get(claim)()).To(Succeed())
	f.Expect(claim.DeletionTimestamp).To(BeNil())
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
}

// recreated makes the StatefulSet of docker.io as another version might have made it.
func (f *fixture) recreated(change func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	f.t.Helper()
	live := f.statefulSet("docker.io")
	f.Expect(f.get(live)()).To(Succeed())
	other := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: live.Namespace, Name: live.Name, Labels: live.Labels, Annotations: live.Annotations,
	}, Spec: live.Spec}
	change(other)
	f.delete(live)
	f.Expect(env.Client.Create(context.Background(), other)).To(Succeed())
	return other
}

// TestWhatTheAPIServerRefusesIsNamedAndChangesNothingThatRuns guards I5 for what only the StatefulSet's own validation knows.
func TestWhatTheAPIServerRefusesIsNamedAndChangesNothingThatRuns(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.112/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	set := f.statefulSet("docker.io")
	f.Expect(f.get(set)()).To(Succeed())
	running := set.DeepCopy().Spec
	list := func(name corev1.ResourceName, quantity string) corev1.ResourceList {
		return corev1.ResourceList{name: resource.MustParse(quantity)}
	}
	for name, tc := range map[string]struct {
		change func(*addonsv1.Cache)
		wants  []string
	}{
		"a request above its limit": {func(c *addonsv1.Cache) {
			c.Resources = &corev1.ResourceRequirements{Requests: list("memory", "2Gi"), Limits: list("memory", "1Gi")}
		}, []string{"resources.requests", "must be less than or equal to memory limit of 1Gi"}},
		"a resource that is none": {func(c *addonsv1.Cache) {
			c.Resources = &corev1.ResourceRequirements{Requests: list("cpus", "1")}
		}, []string{"resources.requests[cpus]", "must be a standard resource for containers"}},
		"less than nothing": {func(c *addonsv1.Cache) {
			c.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "-1")}
		}, []string{"resources.limits[cpu]", "must be greater than or equal to 0"}},
		"a claim that no Pod has": {func(c *addonsv1.Cache) {
			c.Resources = &corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}
		}, []string{"resources.claims[0]", "must be one of the names in pod.spec.resourceClaims"}},
		"a selector that is no label": {func(c *addonsv1.Cache) {
			c.NodeSelector = map[string]string{"not a label": ""}
		}, []string{"template.spec.nodeSelector", "name part must consist of alphanumeric"}},
		"an operator that is none": {func(c *addonsv1.Cache) {
			c.Tolerations = []corev1.Toleration{{Key: "a", Operator: "Like"}}
		}, []string{"template.spec.tolerations[0].operator", "Unsupported value"}},
		"a value without a key": {func(c *addonsv1.Cache) {
			c.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpEqual, Value: "x"}}
		}, []string{"template.spec.tolerations[0].operator", "operator must be Exists when `key` is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			f.WithT = NewWithT(t)
			f.update(func(rc *addonsv1.RegistryCache) {
				rc.Spec.Caches[0] = addonsv1.Cache{Upstream: "docker.io"}
				tc.change(&rc.Spec.Caches[0])
			})
			f.Eventually(func(g Gomega) {
				message := ""
				for _, condition := range f.current().Status.Conditions {
					if condition.Type == addonsv1.CachesAvailableCondition && condition.Reason == addonsv1.ApplyFailedReason {
						message = condition.Message
					}
				}
				for _, want := range append(tc.wants, "cache of docker.io", "StatefulSet registry-docker-io") {
					g.Expect(message).To(ContainSubstring(want))
				}
			}, patience).Should(Succeed())
			f.Expect(f.get(set)()).To(Succeed())
			f.Expect(set.Spec).To(Equal(running))
		})
	}
}
