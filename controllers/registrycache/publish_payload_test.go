package registrycache_test

import (
	"encoding/base64"
	"testing"

	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// payloadSecret is the Secret that bootstrap templates name.
func (f *fixture) payloadSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c-registry-cache"}}
}

// told are the files of a node that takes the payload from the Secret, nil if there is no Secret.
func (f *fixture) told() map[string]string {
	f.t.Helper()
	secret := f.payloadSecret()
	if f.get(secret)() != nil {
		return nil
	}
	archive, err := base64.StdEncoding.DecodeString(string(secret.Data[addonsv1.NodePayloadKey]))
	f.Expect(err).NotTo(HaveOccurred())
	return envtest.Install(f.t, archive)
}

// nodeFiles are what a node of these caches has to have: upstreams and endpoints by turns.
func (f *fixture) nodeFiles(caches ...string) map[string]string {
	f.t.Helper()
	values := payload.Values{}
	for i := 0; i < len(caches); i += 2 {
		values.Caches = append(values.Caches, payload.Cache{Upstream: caches[i], Endpoint: caches[i+1], CA: f.current().Status.CABundle})
	}
	files, err := payload.Files(values)
	f.Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, file := range files {
		all[file.Path] = string(file.Content)
	}
	return all
}

// inert matches an archive that does nothing; no Secret is nil.
func inert() gomegatypes.GomegaMatcher { return And(Not(BeNil()), BeEmpty()) }

// TestTheNodePayloadIsPublishedAsLongAsItsClusterLives guards I1: Machines of a template that names the Secret do not boot while
// there is none.
func TestTheNodePayloadIsPublishedAsLongAsItsClusterLives(t *testing.T) {
	f := newFixture(t)
	f.provisioned("10.77.0.224/28")
	f.create("docker.io")
	f.eventually(addonsv1.NodePayloadPublishedCondition, metav1.ConditionTrue, addonsv1.NodePayloadPublishedReason)
	f.Expect(f.told()).To(Equal(f.nodeFiles("docker.io", "https://10.77.0.238:5000")), "before the Cluster is connected")
	f.belongsToTheCluster()

	clusters.set(f.cluster, true)
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = caches("docker.io", "quay.io") })
	both := f.nodeFiles("docker.io", "https://10.77.0.238:5000", "quay.io", "https://10.77.0.237:5000")
	f.Eventually(f.told).Should(Equal(both))
	f.ready("docker.io", "quay.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	f.Expect(f.told()).To(Equal(both), "caches in the namespace of the Secret do not prune it")

	f.delete(f.payloadSecret())
	f.Eventually(f.told).Should(Equal(both), "a Secret that somebody removed comes back")
	spoilt := f.payloadSecret()
	f.Expect(f.get(spoilt)()).To(Succeed())
	spoilt.Data[addonsv1.NodePayloadKey] = []byte("c3BvaWx0")
	f.Expect(env.Client.Update(t.Context(), spoilt)).To(Succeed())
	f.Eventually(func() string { _ = f.get(spoilt)(); return string(spoilt.Data[addonsv1.NodePayloadKey]) }).ShouldNot(Equal("c3BvaWx0"))
	f.Expect(f.told()).To(Equal(both))

	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.told()).To(inert())
	f.create("ghcr.io")
	f.Eventually(f.trusted).ShouldNot(BeEmpty())
	f.Eventually(f.told).Should(Equal(f.nodeFiles("ghcr.io", "https://10.77.0.238:5000")))
}

// belongsToTheCluster is what lets clusterctl move the Secret, and garbage collection remove it.
func (f *fixture) belongsToTheCluster() {
	f.t.Helper()
	secret := f.payloadSecret()
	f.Expect(f.get(secret)()).To(Succeed())
	f.Expect(secret.Labels).To(HaveKeyWithValue(clusterv1.ClusterNameLabel, "c"))
	f.Expect(secret.Type).NotTo(Equal(clusterv1.ClusterSecretType))
	f.Expect(secret.OwnerReferences).To(HaveLen(1))
	f.Expect(secret.OwnerReferences[0].UID).To(Equal(f.cluster.UID))
	f.Expect(secret.OwnerReferences[0].Controller).To(BeNil())
}

func TestTheNodePayloadIsInertUntilAnAddressIsKnown(t *testing.T) {
	f := newFixture(t)
	f.provisioned("")
	f.create("docker.io")
	f.Eventually(f.told).Should(inert())
	clusters.set(f.cluster, true)
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionTrue, addonsv1.AddressesAllocatedReason)
	f.Eventually(f.told).Should(Equal(f.nodeFiles("docker.io", f.endpoints()[0])))
}

func TestTheNodePayloadLeavesASecretOfSomeoneElseAlone(t *testing.T) {
	f := newFixture(t)
	foreign := f.payloadSecret()
	foreign.Data = map[string][]byte{"theirs": []byte("1")}
	f.Expect(env.Client.Create(t.Context(), foreign)).To(Succeed())
	f.connected("10.77.0.240/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionTrue, addonsv1.CachesAvailableReason)
	condition := f.eventually(addonsv1.NodePayloadPublishedCondition, metav1.ConditionFalse, addonsv1.NodePayloadRejectedReason)
	f.Expect(condition.Message).To(And(ContainSubstring("Secret c-registry-cache"), ContainSubstring("remove or rename it"), ContainSubstring("files[].contentFrom.secret")))
	f.Eventually(f.events).Should(ContainElement(addonsv1.NodePayloadRejectedReason))
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.get(foreign)()).To(Succeed())
	f.Expect(foreign.Data).To(Equal(map[string][]byte{"theirs": []byte("1")}))
}

// The Cluster's end, which removes the Secret, is not held up by it (I8), and brings nothing back.
func TestTheNodePayloadIsNotPublishedForAClusterThatGoes(t *testing.T) {
	f := newFixture(t)
	f.cluster = env.CreateCluster(t, f.namespace, "c", func(c *clusterv1.Cluster) {
		c.Finalizers = []string{"test.example.com/keep"}
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.77.0.16/28"}
	})
	f.create("docker.io")
	f.Eventually(f.told).ShouldNot(BeNil())
	f.delete(f.cluster)
	f.eventually(addonsv1.NodePayloadPublishedCondition, metav1.ConditionFalse, addonsv1.ClusterDeletingReason)
	f.delete(f.payloadSecret())
	f.Consistently(f.get(f.payloadSecret())).Should(notFound())
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(client.IgnoreNotFound(f.get(f.payloadSecret())())).To(Succeed())
}
