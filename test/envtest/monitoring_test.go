package envtest_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// TestMonitoringIsAccepted applies all objects of config/monitoring by a dry run, to an API server that has the Prometheus Operator's kinds,
// without a field that is not known.
func TestMonitoringIsAccepted(t *testing.T) {
	g := NewWithT(t)
	env.InstallPrometheusOperatorCRDs(t)
	strict := client.WithFieldValidation(env.Client, metav1.FieldValidationStrict)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: addonNamespace}}
	g.Expect(client.IgnoreAlreadyExists(env.Client.Create(t.Context(), namespace))).To(Succeed())
	files, err := filepath.Glob("../../config/monitoring/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	kinds := map[string]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		objects, err := envtest.Decode(content)
		g.Expect(err).NotTo(HaveOccurred(), file)
		for _, object := range objects {
			if object.GetKind() == "" {
				continue // a file of Prometheus itself
			}
			if object.GetNamespace() == "" && object.GetKind() != "ClusterRole" && object.GetKind() != "ClusterRoleBinding" {
				object.SetNamespace(metav1.NamespaceDefault) // its user says where it goes
			}
			kinds[object.GetKind()]++
			err := strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.DryRunAll, client.ForceOwnership, client.FieldOwner("kubectl"))
			g.Expect(err).NotTo(HaveOccurred(), "%s: %s %s", file, object.GetKind(), object.GetName())
		}
	}
	g.Expect(kinds).To(And(HaveKeyWithValue("PodMonitor", 2), HaveKeyWithValue("ServiceMonitor", 1)))
}
