package envtest_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controlplane/kubeadm/pkg/desiredstate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

var optOut = map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutValue}

// createConfig creates a KubeadmConfig and the bootstrap data Secret that it owns, and returns what became of the data.
func createConfig(t *testing.T, namespace, name string, annotations map[string]string) []byte {
	t.Helper()
	g := NewWithT(t)
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations}}
	g.Expect(env.Client.Create(t.Context(), config)).To(Succeed())
	s := bootstrapSecret(namespace, name, "c1", data)
	s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(config, bootstrapv1.GroupVersion.WithKind("KubeadmConfig"))}
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	return s.Data["value"]
}

func TestABootstrapConfigOptsOutByItsAnnotation(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	awaitInjection(t, rc)
	g.Expect(string(createConfig(t, namespace, "out", optOut))).To(Equal(data))
	expectPayloadOnce(t, rc, createConfig(t, namespace, "in", nil))
	expectPayloadOnce(t, rc, createConfig(t, namespace, "odd", map[string]string{v1alpha1.OptOutAnnotation: "Skip"}))
	event := onlyEvent(t, namespace)
	g.Expect(event.Reason).To(Equal(webhooks.OptOutNotUnderstoodEventReason))
	g.Expect(event.Note).To(And(ContainSubstring("KubeadmConfig odd"), ContainSubstring(`"Skip"`), ContainSubstring(`accepted is "skip"`)))
}

// TestAnOptOutIsHeardFromWhereUsersWriteIt holds Cluster API's own code to what docs/bootstrap-data.md says. For a MachinePool users write
// the bootstrap config themselves.
func TestAnOptOutIsHeardFromWhereUsersWriteIt(t *testing.T) {
	startWebhook(t)
	env.StartCAPI(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	cluster := env.CreateCluster(t, namespace, "c1")
	awaitInjection(t, rc)

	first := env.CreateMachine(t, cluster, "cp-1", true, func(config *bootstrapv1.KubeadmConfig) {
		kcp := &controlplanev1.KubeadmControlPlane{Spec: controlplanev1.KubeadmControlPlaneSpec{Version: envtest.KubernetesVersion}}
		kcp.Spec.MachineTemplate.ObjectMeta.Annotations = optOut
		made, err := desiredstate.ComputeDesiredKubeadmConfig(kcp, cluster, false, config.Name, nil)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		config.Annotations = made.Annotations
	})
	t.Run("KubeadmControlPlane spec.machineTemplate.metadata", func(t *testing.T) {
		expectNoPayload(NewWithT(t), bootstrapData(t, namespace, "cp-1").Data["value"])
	})
	env.JoinNode(t, first)

	template := func(name string) *bootstrapv1.KubeadmConfigTemplate {
		return &bootstrapv1.KubeadmConfigTemplate{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	env.CreateMachineSet(t, cluster, template("in"))
	annotated := template("template")
	annotated.Spec.Template.ObjectMeta.Annotations = optOut
	env.CreateMachineSet(t, cluster, annotated)
	env.CreateMachineSet(t, cluster, template("machines"), func(set *clusterv1.MachineSet) { set.Spec.Template.Annotations = optOut })
	t.Run("neither", func(t *testing.T) { expectPayloadOnce(t, rc, dataOfSet(t, namespace, "in")) })
	t.Run("KubeadmConfigTemplate spec.template.metadata", func(t *testing.T) {
		expectNoPayload(NewWithT(t), dataOfSet(t, namespace, "template"))
	})
	t.Run("MachineDeployment and MachineSet spec.template.metadata", func(t *testing.T) {
		expectNoPayload(NewWithT(t), dataOfSet(t, namespace, "machines"))
	})
}

// dataOfSet waits for the bootstrap data of the one Machine of a MachineSet.
func dataOfSet(t *testing.T, namespace, set string) []byte {
	t.Helper()
	machines := &clusterv1.MachineList{}
	NewWithT(t).Eventually(func(g Gomega) {
		g.Expect(env.Client.List(t.Context(), machines, client.InNamespace(namespace), client.MatchingLabels{clusterv1.MachineSetNameLabel: set})).To(Succeed())
		g.Expect(machines.Items).To(HaveLen(1))
	}, timeout).Should(Succeed())
	return bootstrapData(t, namespace, machines.Items[0].Name).Data["value"]
}

func expectNoPayload(g *WithT, data []byte) {
	parsed := parse(g, data)
	g.Expect(parsed.RunCmd).To(ContainElement(ContainSubstring("kubeadm")), "the data is that of a kubeadm node")
	g.Expect(parsed.RunCmd).NotTo(ContainElement(ContainSubstring(payload.UnitName)))
	for _, f := range parsed.WriteFiles {
		g.Expect(payload.Owned(f.Path)).To(BeFalse(), f.Path)
	}
}
