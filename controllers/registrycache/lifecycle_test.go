package registrycache_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestAddressesAreInTheStatusBeforeTheClusterIsConnected(t *testing.T) {
	f := newFixture(t)
	f.create("docker.io", "quay.io")
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.ClusterNotFoundReason)
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionFalse, addonsv1.ClusterNotFoundReason)

	f.provisioned("10.77.0.32/28")
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionTrue, addonsv1.AddressesAllocatedReason)
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionUnknown, "ReadyUnknown")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.46:5000", "https://10.77.0.45:5000"}))

	current := f.current()
	f.Expect(current.Status.ObservedGeneration).To(Equal(current.Generation))
	f.Expect(current.OwnerReferences).To(HaveLen(1))
	f.Expect(current.OwnerReferences[0].UID).To(Equal(f.cluster.UID))
	f.Expect(current.OwnerReferences[0].Controller).To(BeNil())

	settled := f.writes()
	f.Consistently(f.writes).Should(Equal(settled), "a Cluster that is not connected is waited for without a loop")
}

// TestLifecycle guards I6 (a resync writes nothing) and I8 (a deleted RegistryCache leaves no object in the workload cluster).
func TestLifecycle(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.48/28")
	f.create("docker.io", "quay.io", "ghcr.io")
	f.ready("docker.io", "quay.io", "ghcr.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.62:5000", "https://10.77.0.61:5000", "https://10.77.0.60:5000"}))
	f.Expect(f.clusterIP("quay.io")).To(Equal("10.77.0.61"))
	f.Eventually(func() []addonsv1.CacheStatus { return f.current().Status.Caches }).
		Should(HaveEach(HaveField("ReadyReplicas", HaveValue(Equal(int32(1))))), "conditions are written before the rest of the status")
	f.Expect(f.current().Status.Summary).To(And(HaveField("Upstreams", "docker.io,quay.io,ghcr.io"), HaveField("Caches", "3/3")))
	f.staysSilent()
	f.mendsWhatOthersChange()
	f.removesAnUpstream()
	f.removesEverything()
}

func (f *fixture) writes() []string { return writes.of(f.namespace) }

// staysSilent lets the controller reconcile, and then again.
func (f *fixture) staysSilent() {
	f.t.Helper()
	f.Eventually(func(g Gomega) {
		before := f.writes()
		clusters.wake(f.cluster)
		g.Consistently(f.writes).Should(Equal(before))
	}).Should(Succeed())
	before := f.writes()
	clusters.wake(f.cluster)
	f.Consistently(f.writes).Should(Equal(before))
}

func (f *fixture) mendsWhatOthersChange() {
	f.t.Helper()
	service, secret, set := f.service("quay.io"), f.secret("quay.io"), f.statefulSet("quay.io")
	f.delete(service)
	f.Eventually(func() string { return f.clusterIP("quay.io") }).Should(Equal("10.77.0.61"), "a Service that is created again keeps its address")
	f.Expect(f.endpoints()[1]).To(Equal("https://10.77.0.61:5000"))

	f.Expect(f.get(secret)()).To(Succeed())
	secret.Data["config.yml"] = []byte("other")
	f.Expect(env.Client.Update(f.t.Context(), secret)).To(Succeed())
	f.Eventually(func() string { _ = f.get(secret)(); return string(secret.Data["config.yml"]) }).ShouldNot(Equal("other"))

	f.Expect(f.get(set)()).To(Succeed())
	f.Expect(set.Spec.Template.Spec.Containers[0].Image).To(Equal(workloadImage))
	set.Spec.Template.Spec.Containers[0].Image = "other"
	f.Expect(env.Client.Update(f.t.Context(), set)).To(Succeed())
	f.Eventually(func() string { _ = f.get(set)(); return set.Spec.Template.Spec.Containers[0].Image }).Should(Equal(workloadImage))
}

func (f *fixture) removesAnUpstream() {
	f.t.Helper()
	removed, kept := f.claim("docker.io"), f.claim("ghcr.io")
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = rc.Spec.Caches[1:] })
	for _, obj := range []client.Object{f.service("docker.io"), f.statefulSet("docker.io"), f.secret("docker.io")} {
		f.Eventually(f.get(obj)).Should(notFound())
	}
	f.Eventually(func() *metav1.Time { _ = f.get(removed)(); return removed.DeletionTimestamp }).ShouldNot(BeNil())
	f.release(removed)
	f.Expect(f.get(kept)()).To(Succeed())
	f.Expect(kept.DeletionTimestamp).To(BeNil())
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(f.endpoints()).To(Equal([]string{"https://10.77.0.61:5000", "https://10.77.0.60:5000"}), "addresses stay as they are")
	f.staysSilent()
}

func (f *fixture) removesEverything() {
	f.t.Helper()
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "foreign"}}
	f.Expect(env.Client.Create(f.t.Context(), foreign)).To(Succeed())
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "store-registry-ghcr-io-0"}}
	f.delete(f.cache)
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.DeletingReason)
	for _, upstream := range []string{"quay.io", "ghcr.io"} {
		for _, obj := range []client.Object{f.service(upstream), f.statefulSet(upstream), f.secret(upstream)} {
			f.Eventually(f.get(obj)).Should(notFound())
		}
	}
	f.Expect(f.get(f.cache)()).To(Succeed(), "the RegistryCache waits for its claims")
	f.release(claim)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.get(foreign)()).To(Succeed())
}

func TestACacheWhoseAddressIsTakenGetsTheNext(t *testing.T) {
	f := newFixture(t)
	for name, ip := range map[string]string{"first": "10.77.0.78", "second": "10.77.0.77"} {
		f.Expect(env.Client.Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}},
		})).To(Succeed())
	}
	f.provisioned("10.77.0.64/28")
	f.create("docker.io", "quay.io")
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionTrue, addonsv1.AddressesAllocatedReason)
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.78:5000", "https://10.77.0.77:5000"}))
	clusters.set(f.cluster, true)
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.76:5000", "https://10.77.0.75:5000"}))
	f.Expect(f.clusterIP("docker.io")).To(Equal("10.77.0.76"))
	f.Eventually(f.events).Should(ContainElements("AddressAllocated", "AddressTaken", "CacheCreated"))
	f.ready("docker.io", "quay.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.76:5000", "https://10.77.0.75:5000"}))
}

func TestTheAPIServerAssignsAddressesIfTheServiceCIDRIsUnknown(t *testing.T) {
	f := newFixture(t)
	f.provisioned("")
	f.create("docker.io")
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionFalse, addonsv1.ServiceCIDRUnknownReason)
	f.Eventually(f.endpoints).Should(Equal([]string{""}))
	clusters.set(f.cluster, true)
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionTrue, addonsv1.AddressesAllocatedReason)
	address := f.clusterIP("docker.io")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://" + address + ":5000"}))
	f.delete(f.service("docker.io"))
	f.Eventually(func() string { return f.clusterIP("docker.io") }).Should(Equal(address))
}

func TestAStatusThatWasLostTakesTheAddressesOfRunningServices(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.0.80/28")
	f.create("docker.io", "quay.io")
	f.ready("docker.io", "quay.io")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.94:5000", "https://10.77.0.93:5000"}))
	before := f.current()
	swapped := before.DeepCopy()
	swapped.Status.Caches[0].Endpoint, swapped.Status.Caches[1].Endpoint = swapped.Status.Caches[1].Endpoint, swapped.Status.Caches[0].Endpoint
	f.Expect(env.Client.Status().Patch(t.Context(), swapped, client.MergeFrom(before))).To(Succeed())
	f.Eventually(f.endpoints).Should(Equal([]string{"https://10.77.0.94:5000", "https://10.77.0.93:5000"}))
	f.Expect(f.clusterIP("docker.io")).To(Equal("10.77.0.94"))
}
