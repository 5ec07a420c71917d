// Package crd holds the CustomResourceDefinitions as `make generate` writes them, for code that has to say what the API server would
// say of an object: the schema of the ClusterClass variable, and the runtime extension.
package crd

import (
	_ "embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed bases/addons.cluster.x-k8s.io_registrycaches.yaml
var registryCaches []byte

// RegistryCacheSpec returns the schema of spec of a RegistryCache.
func RegistryCacheSpec() (*apiextensionsv1.JSONSchemaProps, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(registryCaches, definition); err != nil {
		return nil, fmt.Errorf("reading the CRD of RegistryCache: %w", err)
	}
	for _, version := range definition.Spec.Versions {
		if !version.Storage || version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
			continue
		}
		if spec, ok := version.Schema.OpenAPIV3Schema.Properties["spec"]; ok {
			return &spec, nil
		}
	}
	return nil, fmt.Errorf("the CRD of RegistryCache has no schema of spec in its stored version")
}
