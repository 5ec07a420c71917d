package envtest

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// capiVersion is the only version of Cluster API's kinds that is served, so that no conversion webhook is needed.
const capiVersion = "v1beta2"

// contractLabel is how Cluster API finds out which version of a CRD implements its contract. Its own CRDs get the label
// from kustomize.
const contractLabel = "cluster.x-k8s.io/" + capiVersion

//go:embed testdata/*.yaml
var infrastructure embed.FS

// loadCRDs returns our CRDs, Cluster API's, and the kinds that stand for those of an infrastructure provider.
func loadCRDs(root string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	capi, err := capiFolder()
	if err != nil {
		return nil, err
	}
	crds, err := readCRDs(filepath.Join(root, "config", "crd", "bases"))
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{"core", "bootstrap/kubeadm", "controlplane/kubeadm"} {
		more, err := readCRDs(filepath.Join(capi, filepath.FromSlash(folder), "config", "crd", "bases"))
		if err != nil {
			return nil, err
		}
		for _, crd := range more {
			serveOnly(crd, capiVersion)
		}
		crds = append(crds, more...)
	}
	static, err := readInfrastructure()
	return append(crds, static...), err
}

func readInfrastructure() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	paths, err := fs.Glob(infrastructure, "testdata/*.yaml")
	if err != nil {
		return nil, err
	}
	crds := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(paths))
	for _, path := range paths {
		content, err := infrastructure.ReadFile(path)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(content, crd); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

func serveOnly(crd *apiextensionsv1.CustomResourceDefinition, version string) {
	crd.Spec.Conversion = nil
	crd.Spec.Versions = slices.DeleteFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name != version
	})
	crd.Labels = map[string]string{contractLabel: version}
}

func readCRDs(folder string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("reading CRDs: no YAML file in %s", folder)
	}
	crds := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(paths))
	for _, path := range paths {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := readYAML(path, crd); err != nil {
			return nil, err
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

// loadWebhook returns the webhook configuration as shipped. envtest puts a slash of its own before the path.
func loadWebhook(root string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := readYAML(filepath.Join(root, "config", "webhook", "manifests.yaml"), hook); err != nil {
		return nil, err
	}
	for i := range hook.Webhooks {
		path := strings.TrimPrefix(*hook.Webhooks[i].ClientConfig.Service.Path, "/")
		hook.Webhooks[i].ClientConfig.Service.Path = &path
	}
	return hook, nil
}

func readYAML(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		return fmt.Errorf("parsing %s: %w", path, err)
	}
	return nil
}

// capiFolder is where the module of Cluster API that go.mod names lies.
func capiFolder() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module of Cluster API: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
