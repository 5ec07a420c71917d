package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldOwner is what the stack applies as.
const fieldOwner = client.FieldOwner("e2e-stack")

// kustomize renders a kustomization with the kubectl that test/kubernetes built.
func (s *Stack) kustomize(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	rendered, err := output(ctx, s.paths.program("kubectl"), "kustomize", dir)
	if err != nil {
		return nil, err
	}
	return decode([]byte(rendered))
}

// decode reads the documents of a YAML stream.
func decode(stream []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading YAML: %w", err)
		}
		if len(u.Object) > 0 {
			objects = append(objects, u)
		}
	}
}

// apply brings objects into a cluster, in their order.
func apply(ctx context.Context, c client.Client, objects ...*unstructured.Unstructured) error {
	for _, u := range objects {
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", u.GetKind(), client.ObjectKeyFromObject(u), err)
		}
	}
	return nil
}

func (s *Stack) applyFile(ctx context.Context, c client.Client, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading objects: %w", err)
	}
	objects, err := decode(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return apply(ctx, c, objects...)
}

// convert fills a typed object from a generic one, or the other way round.
func convert(from, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("encoding %T: %w", from, err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("decoding %T: %w", to, err)
	}
	return nil
}
