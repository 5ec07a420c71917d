package registrycache_test

import (
	"context"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// createWithAddresses is create, with the annotation that clusterctl, a backup or a copied manifest brings along.
func (f *fixture) createWithAddresses(addresses string, upstreams ...string) {
	f.t.Helper()
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.namespace, Name: "c", Annotations: map[string]string{addonsv1.AddressesAnnotation: addresses},
	}}
	f.cache.Spec.Namespace = f.namespace
	f.cache.Spec.Caches = caches(upstreams...)
	f.createCache()
}

func (f *fixture) remembered() string { return f.current().Annotations[addonsv1.AddressesAnnotation] }

// TestAnErrorBeforeAddressesAreReadForgetsNone guards I5: the API server refuses the status with the authority, which is written first.
func TestAnErrorBeforeAddressesAreReadForgetsNone(t *testing.T) {
	f := newFixture(t)
	const addresses = `{"docker.io":"10.77.3.165"}`
	f.provisioned("10.77.3.160/28")
	allow := f.refuseAuthorities()
	f.createWithAddresses(addresses, "docker.io")
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionUnknown, addonsv1.InternalErrorReason)
	f.Consistently(f.remembered).Should(Equal(addresses))
	f.Expect(f.current().Status.Caches).To(BeEmpty())
	allow()
	f.Eventually(func() []string { clusters.wake(f.cluster); return f.endpoints() }).Should(Equal([]string{"https://10.77.3.165:5000"}))
	f.Expect(f.remembered()).To(Equal(addresses))
}

// refuseAuthorities lets the API server refuse every status in the namespace that says what nodes trust, until allow is called.
func (f *fixture) refuseAuthorities() (allow func()) {
	f.t.Helper()
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}
	policy.Spec.MatchConstraints = &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": f.namespace}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{addonsv1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"registrycaches/status"},
			},
		}}},
	}
	policy.Spec.Validations = []admissionregistrationv1.Validation{{Expression: "!has(object.status) || !has(object.status.caBundle)"}}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}
	binding.Spec = admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}
	f.Expect(env.Client.Create(f.t.Context(), policy)).To(Succeed())
	f.Expect(env.Client.Create(f.t.Context(), binding)).To(Succeed())
	f.t.Cleanup(func() {
		_ = env.Client.Delete(context.Background(), binding)
		_ = env.Client.Delete(context.Background(), policy)
	})
	f.awaitRefusal()
	return func() { f.t.Helper(); f.delete(binding) }
}

// awaitRefusal waits until the API server knows the policy, by means of an object that has no Cluster and that nobody changes.
func (f *fixture) awaitRefusal() {
	f.t.Helper()
	probe := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "probe"}}
	probe.Spec.Caches = caches("docker.io")
	f.Expect(env.Client.Create(f.t.Context(), probe)).To(Succeed())
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"caBundle":"eA=="}}`))
	f.Eventually(func() error {
		return env.Client.Status().Patch(f.t.Context(), probe.DeepCopy(), patch, client.DryRunAll)
	}).Should(MatchError(ContainSubstring("denied")))
	f.delete(probe)
}

// TestAnAddressThatIsNoneOfTheClustersIsReplaced is a manifest that was copied from a cluster with another Service CIDR and an IP family more.
func TestAnAddressThatIsNoneOfTheClustersIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.provisioned("")
	f.createWithAddresses(`{"docker.io":"192.0.2.7","quay.io":"fd00::7","ghcr.io":"10.77.3.180"}`, "docker.io", "quay.io", "ghcr.io")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://192.0.2.7:5000", "https://[fd00::7]:5000", "https://10.77.3.180:5000"}))
	clusters.set(f.cluster, true)
	f.ready("docker.io", "quay.io", "ghcr.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	docker, quay := f.clusterIP("docker.io"), f.clusterIP("quay.io")
	f.Expect(f.clusterIP("ghcr.io")).To(Equal("10.77.3.180"), "what is not refused stays")
	f.Eventually(f.endpoints).Should(Equal([]string{"https://" + docker + ":5000", "https://" + quay + ":5000", "https://10.77.3.180:5000"}))
	f.Eventually(f.remembered).Should(Equal(fmt.Sprintf(`{"docker.io":%q,"ghcr.io":"10.77.3.180","quay.io":%q}`, docker, quay)))
	f.Expect(f.events()).To(ContainElement("AddressRefused"))
	f.staysSilent()
}
