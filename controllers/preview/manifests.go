package preview

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// ReadManifests finds the one RegistryCache in a YAML file, and its Cluster.
func ReadManifests(path string) (*clusterv1.Cluster, *v1alpha1.RegistryCache, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the user names it
	if err != nil {
		return nil, nil, fmt.Errorf("reading the manifests: %w", err)
	}
	objects, err := decode(content)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	caches := ofKind(objects, v1alpha1.GroupVersion.WithKind("RegistryCache"))
	if len(caches) != 1 {
		return nil, nil, fmt.Errorf("%s holds %d RegistryCaches of %s; accepted is one", path, len(caches), v1alpha1.GroupVersion)
	}
	rc := &v1alpha1.RegistryCache{}
	if err := convert(caches[0], rc); err != nil {
		return nil, nil, fmt.Errorf("parsing the RegistryCache in %s: %w", path, err)
	}
	for _, object := range ofKind(objects, clusterv1.GroupVersion.WithKind("Cluster")) {
		cluster := &clusterv1.Cluster{}
		if err := convert(object, cluster); err != nil {
			return nil, nil, fmt.Errorf("parsing the Cluster in %s: %w", path, err)
		}
		if client.ObjectKeyFromObject(cluster) == client.ObjectKeyFromObject(rc) {
			return cluster, rc, nil
		}
	}
	return nil, nil, fmt.Errorf("%s holds no Cluster of %s with the name and namespace of its RegistryCache, %s", path, clusterv1.GroupVersion, client.ObjectKeyFromObject(rc))
}

// decode returns the objects of a YAML file, those of lists too.
func decode(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if !object.IsList() {
			objects = append(objects, object)
			continue
		}
		list, err := object.ToList()
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
}

func ofKind(objects []*unstructured.Unstructured, kind schema.GroupVersionKind) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GroupVersionKind() != kind })
}

func convert(object *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)
}
