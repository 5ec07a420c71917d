package envtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// certManagerVersion is that which clusterctl installs.
const certManagerVersion = "v1.21.2"

// prometheusOperatorVersion is one of those whose kinds config/monitoring is written for; they have not changed in what it uses since long.
const prometheusOperatorVersion = "v0.91.0"

// Kustomize renders a folder of this repository with the kubectl that is beside the API server. It needs no API server.
func Kustomize(t testing.TB, folder string) []*unstructured.Unstructured {
	t.Helper()
	g := gomega.NewWithT(t)
	root, err := repositoryRoot()
	g.Expect(err).NotTo(gomega.HaveOccurred())
	binaries := assets(root)
	if binaries == "" {
		binaries = os.Getenv("KUBEBUILDER_ASSETS")
	}
	out, err := exec.Command(filepath.Join(binaries, "kubectl"), "kustomize", filepath.Join(root, folder)).Output() //nolint:gosec // of this repository
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("rendering %s: %s", folder, failed.Stderr)
	}
	g.Expect(err).NotTo(gomega.HaveOccurred())
	objects, err := Decode(out)
	g.Expect(err).NotTo(gomega.HaveOccurred(), folder)
	return objects
}

// Decode reads the objects of a YAML stream.
func Decode(stream []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decoding YAML: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// InstallCertManagerCRDs makes the API server know what our Certificate and Issuer are, by cert-manager's own definitions. Nothing runs.
func (e *Environment) InstallCertManagerCRDs(t testing.TB) {
	t.Helper()
	e.installCRDs(t, "github.com/cert-manager/cert-manager@"+certManagerVersion, filepath.Join("deploy", "crds", "cert-manager.io_%s.yaml"), "certificates", "issuers")
}

// InstallPrometheusOperatorCRDs makes the API server know the kinds of the Prometheus Operator that config/monitoring has.
func (e *Environment) InstallPrometheusOperatorCRDs(t testing.TB) {
	t.Helper()
	e.installCRDs(t, "github.com/prometheus-operator/prometheus-operator@"+prometheusOperatorVersion,
		filepath.Join("example", "prometheus-operator-crd", "monitoring.coreos.com_%s.yaml"), "podmonitors", "servicemonitors", "prometheusrules")
}

// installCRDs takes the definitions of kinds from a module, whose files have the plural of the kind in their name.
func (e *Environment) installCRDs(t testing.TB, of, files string, kinds ...string) {
	t.Helper()
	g := gomega.NewWithT(t)
	out, err := exec.Command("go", "mod", "download", "-json", of).Output() //nolint:gosec // a constant
	g.Expect(err).NotTo(gomega.HaveOccurred(), "finding the module %s", of)
	module := struct{ Dir string }{}
	g.Expect(json.Unmarshal(out, &module)).To(gomega.Succeed())
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range kinds {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		g.Expect(readYAML(filepath.Join(module.Dir, fmt.Sprintf(files, kind)), crd)).To(gomega.Succeed())
		crds = append(crds, crd)
	}
	_, err = envtest.InstallCRDs(e.Config, envtest.CRDInstallOptions{CRDs: crds, Scheme: e.server.CRDInstallOptions.Scheme})
	g.Expect(err).NotTo(gomega.HaveOccurred())
}

// Kubeconfig writes a kubeconfig for a user and returns its path.
func (e *Environment) Kubeconfig(t testing.TB, user string, groups ...string) string {
	t.Helper()
	g := gomega.NewWithT(t)
	added, err := e.server.AddUser(envtest.User{Name: user, Groups: groups}, e.Config)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	content, err := added.KubeConfig()
	g.Expect(err).NotTo(gomega.HaveOccurred())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(path, content, 0o600)).To(gomega.Succeed())
	return path
}

// WebhookFlags are those flags of our manager that let it serve where the API server expects its webhook.
func (e *Environment) WebhookFlags() []string {
	o := e.server.WebhookInstallOptions
	return []string{fmt.Sprintf("--webhook-port=%d", o.LocalServingPort), "--webhook-cert-dir=" + o.LocalServingCertDir}
}
