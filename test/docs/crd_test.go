package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestDocumentationByKubectlExplainHasEveryField looks at the CRDs: each field says what it is, and what it is if nothing is given.
func TestDocumentationByKubectlExplainHasEveryField(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		content, err := os.ReadFile(filepath.Clean(file))
		g.Expect(err).NotTo(HaveOccurred())
		crd := &apiextensionsv1.CustomResourceDefinition{}
		g.Expect(yaml.UnmarshalStrict(content, crd)).To(Succeed())
		for _, version := range crd.Spec.Versions {
			for name, field := range version.Schema.OpenAPIV3Schema.Properties {
				lookAt(t, crd.Spec.Names.Singular+"."+name, field)
			}
			for _, column := range version.AdditionalPrinterColumns {
				g.Expect(column.Description).NotTo(BeEmpty(), column.Name)
			}
		}
	}
}

// lookAt goes through a field and what is in it. An object has the defaults of its fields, and metadata is Kubernetes' own.
func lookAt(t *testing.T, path string, field apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if field.Description == "" && !strings.HasSuffix(path, ".metadata") {
		t.Errorf("%s has no description", path)
	}
	if field.Default != nil && field.Type != "object" && !strings.Contains(field.Description, "Default: ") {
		t.Errorf("%s does not say that its default is %s", path, field.Default.Raw)
	}
	for name, inner := range field.Properties {
		lookAt(t, fmt.Sprintf("%s.%s", path, name), inner)
	}
	if field.Items != nil {
		for name, inner := range field.Items.Schema.Properties {
			lookAt(t, fmt.Sprintf("%s[].%s", path, name), inner)
		}
	}
}
