package envtest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/util/contract"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

const addonNamespace = "capi-registry-cache-system"

// TestEveryFolderOfConfigIsAccepted renders each kustomization and applies it by a dry run, without a field that is not known. Folders that are
// parts of config/default have its placeholders: the namespace system, and no name prefix.
func TestEveryFolderOfConfigIsAccepted(t *testing.T) {
	env.InstallCertManagerCRDs(t)
	strict := client.WithFieldValidation(env.Client, metav1.FieldValidationStrict)
	for _, name := range []string{"system", addonNamespace} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		NewWithT(t).Expect(client.IgnoreAlreadyExists(env.Client.Create(t.Context(), namespace))).To(Succeed())
	}
	folders, err := filepath.Glob("../../config/*/kustomization.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(len(folders)).To(BeNumerically(">=", 8))
	for _, path := range folders {
		folder := filepath.Join("config", filepath.Base(filepath.Dir(path)))
		t.Run(folder, func(t *testing.T) {
			g := NewWithT(t)
			objects := envtest.Kustomize(t, folder)
			g.Expect(objects).NotTo(BeEmpty())
			for _, object := range objects {
				if object.GetKind() == "MutatingWebhookConfiguration" {
					object.SetName("kustomize") // the API server of the tests has one of this name already, with a URL
				}
				err := strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.DryRunAll, client.ForceOwnership, client.FieldOwner("kustomize"))
				g.Expect(err).NotTo(HaveOccurred(), "%s %s", object.GetKind(), object.GetName())
			}
		})
	}
}

// TestComponentsKeepTheRulesOfClusterctl holds config/release against what clusterctl asks of components:
// https://cluster-api.sigs.k8s.io/developer/providers/contracts/clusterctl
func TestComponentsKeepTheRulesOfClusterctl(t *testing.T) {
	g := NewWithT(t)
	namespaces, prefixed := 0, map[string]bool{}
	for _, object := range envtest.Kustomize(t, "config/release") {
		name := object.GetKind() + " " + object.GetName()
		g.Expect(object.GetLabels()).To(HaveKeyWithValue(clusterv1.ProviderNameLabel, "addon-registry-cache"), name)
		switch object.GetKind() {
		case "Namespace":
			g.Expect(object.GetName()).To(Equal(addonNamespace))
			namespaces++
		case "CustomResourceDefinition":
			group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(object.Object, "spec", "names", "kind")
			g.Expect(object.GetName()).To(Equal(contract.CalculateCRDName(group, kind)))
			g.Expect(object.GetLabels()).To(HaveKeyWithValue("cluster.x-k8s.io/v1beta2", "v1alpha1"), name)
		case "ClusterRole", "ClusterRoleBinding": // clusterctl delete leaves those whose name does not begin with the provider's namespace
			g.Expect(object.GetName()).To(HavePrefix(addonNamespace + "-"))
			prefixed[object.GetKind()] = true
		case "Deployment":
			containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			g.Expect(containers).To(ConsistOf(HaveKeyWithValue("name", "manager")))
		}
	}
	g.Expect(namespaces).To(Equal(1))
	g.Expect(prefixed).To(And(HaveKey("ClusterRole"), HaveKey("ClusterRoleBinding")))

	content, err := os.ReadFile("../../metadata.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	metadata, err := envtest.Decode(content)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(metadata).To(HaveLen(1))
	g.Expect(metadata[0].GroupVersionKind()).To(Equal(clusterctlv1.GroupVersion.WithKind("Metadata")))
}

// TestEveryVariableIsDocumented also makes sure that each has a default: without, clusterctl asks for it.
func TestEveryVariableIsDocumented(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("../../docs/install.md")
	g.Expect(err).NotTo(HaveOccurred())
	patch, err := os.ReadFile("../../config/release/manager_variables_patch.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	variables := regexp.MustCompile(`\$\{([^}]*)\}`).FindAllStringSubmatch(string(patch), -1)
	g.Expect(len(variables)).To(BeNumerically(">=", 8))
	parts := regexp.MustCompile(`^([A-Z_]+):=(.+)$`)
	for _, variable := range variables {
		found := parts.FindStringSubmatch(variable[1])
		g.Expect(found).NotTo(BeNil(), variable[0])
		g.Expect(string(page)).To(ContainSubstring("`"+found[1]+"`"), "docs/install.md")
	}
}
