package stack

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
)

// extensionPort is where this host reaches the webhook server of the manager, and with it the runtime extension.
const extensionPort = 31943

// CreateFromClass creates the Cluster and its ClusterClass from the templates for users, adapted to the images and networks of the
// stack, with a value for the variable. It does not wait.
func (c *Cluster) CreateFromClass(ctx context.Context, value v1alpha1.RegistryCacheSpec) error {
	if err := c.createNamespace(ctx); err != nil {
		return err
	}
	objects, err := c.fromTemplate(cluster.Class)
	if err != nil {
		return err
	}
	for _, u := range objects {
		if err := c.adapt(u, nil); err != nil {
			return fmt.Errorf("adapting %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	topology, err := c.topology(value)
	if err != nil {
		return err
	}
	for _, u := range objects {
		if err := c.stack.Client.Create(ctx, u); err != nil {
			return fmt.Errorf("creating %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	if err := c.stack.Client.Create(ctx, topology); err != nil {
		return fmt.Errorf("creating Cluster %s: %w", c.Name, err)
	}
	return nil
}

// topology is the Cluster of the template in the networks of the stack.
func (c *Cluster) topology(value v1alpha1.RegistryCacheSpec) (*clusterv1.Cluster, error) {
	objects, err := c.fromTemplate(cluster.Topology)
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 {
		return nil, fmt.Errorf("the template of a Cluster with a topology holds %d objects", len(objects))
	}
	made := &clusterv1.Cluster{}
	if err := convert(objects[0].Object, made); err != nil {
		return nil, err
	}
	made.Spec.ClusterNetwork = c.cluster().Spec.ClusterNetwork
	made.Spec.Topology.Variables, err = Variables(value)
	return made, err
}

// Variables are the variables of a topology with a value for registryCache.
func Variables(value any) ([]clusterv1.ClusterVariable, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding the variable: %w", err)
	}
	return []clusterv1.ClusterVariable{{Name: v1alpha1.ClusterVariable, Value: apiextensionsv1.JSON{Raw: raw}}}, nil
}

// RegisterExtension registers the runtime extension of the manager with Cluster API's core, as config/extension does, but for the
// address: the core runs on this host.
func (s *Stack) RegisterExtension(ctx context.Context) error {
	address, err := s.managementAddress(ctx)
	if err != nil {
		return err
	}
	rendered, err := s.kustomize(ctx, s.paths.in("config", "extension"))
	if err != nil {
		return err
	}
	for _, u := range rendered {
		u.SetAnnotations(nil)
		config := map[string]any{"url": fmt.Sprintf("https://%s:%d", address, extensionPort), "caBundle": s.authority.PEM}
		var generic map[string]any
		if err := convert(config, &generic); err != nil {
			return err
		}
		if err := unstructured.SetNestedMap(u.Object, generic, "spec", "clientConfig"); err != nil {
			return err
		}
	}
	return apply(ctx, s.Client, append([]*unstructured.Unstructured{extensionService()}, rendered...)...)
}

// extensionService makes the webhook server reachable from this host.
func extensionService() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"namespace": managerNamespace, "name": "e2e-extension"},
		"spec": map[string]any{
			"type":     string(corev1.ServiceTypeNodePort),
			"selector": map[string]any{"control-plane": "controller-manager", clusterv1.ProviderNameLabel: "addon-registry-cache"},
			"ports":    []any{map[string]any{"port": int64(443), "targetPort": "webhook-server", "nodePort": int64(extensionPort)}},
		},
	}}
}

// UnregisterExtension removes what RegisterExtension made.
func (s *Stack) UnregisterExtension(ctx context.Context) error {
	rendered, err := s.kustomize(ctx, s.paths.in("config", "extension"))
	if err != nil {
		return err
	}
	for _, u := range append(rendered, extensionService()) {
		if err := s.Client.Delete(ctx, u); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}

// managementAddress is where this host reaches the node of the management cluster.
func (s *Stack) managementAddress(ctx context.Context) (string, error) {
	return docker(ctx, "inspect", ManagementCluster+"-control-plane", "--format", fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).IPAddress}}`, Network))
}
