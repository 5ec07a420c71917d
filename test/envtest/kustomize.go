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
	g := gomega.NewWithT(t)
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/cert-manager/cert-manager@"+certManagerVersion).Output() //nolint:gosec // a constant
	g.Expect(err).NotTo(gomega.HaveOccurred(), "finding the module of cert-manager")
	module := struct{ Dir string }{}
	g.Expect(json.Unmarshal(out, &module)).To(gomega.Succeed())
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range []string{"certificates", "issuers"} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		g.Expect(readYAML(filepath.Join(module.Dir, "deploy", "crds", "cert-manager.io_"+kind+".yaml"), crd)).To(gomega.Succeed())
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
