package stack

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// CreateFromTemplate creates what a template for users holds, adapted to the images and networks of the stack, with caches of its
// upstreams instead of those of the template. Existing nodes are left alone, so what nodes have is from their bootstrap data. It does not wait.
func (c *Cluster) CreateFromTemplate(ctx context.Context, template string, upstreams ...*Upstream) error {
	if err := c.createNamespace(ctx); err != nil {
		return err
	}
	objects, err := c.fromTemplate(template)
	if err != nil {
		return err
	}
	for _, u := range objects {
		if err := c.adapt(u, upstreams); err != nil {
			return fmt.Errorf("adapting %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		if err := c.stack.Client.Create(ctx, u); err != nil {
			return fmt.Errorf("creating %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}

// fromTemplate fills in the variables of a template.
func (c *Cluster) fromTemplate(template string) ([]*unstructured.Unstructured, error) {
	filled := strings.NewReplacer("${CLUSTER_NAME}", c.Name, "${NAMESPACE}", c.Name, "${KUBERNETES_VERSION}", KubernetesVersion,
		"${CONTROL_PLANE_MACHINE_COUNT}", "1", "${WORKER_MACHINE_COUNT}", fmt.Sprint(c.Workers)).Replace(template)
	return decode([]byte(filled))
}

// adapt puts into an object of a template what objects of the stack have.
func (c *Cluster) adapt(u *unstructured.Unstructured, upstreams []*Upstream) error {
	switch u.GetKind() {
	case "DevMachineTemplate":
		return unstructured.SetNestedField(u.Object, machineSpec(), "spec", "template", "spec")
	case "KubeadmControlPlaneTemplate":
		return change(u, func(t *controlplanev1.KubeadmControlPlaneTemplate) {
			c.adaptControlPlane(&t.Spec.Template.Spec.KubeadmConfigSpec)
		})
	case "KubeadmControlPlane":
		return change(u, func(p *controlplanev1.KubeadmControlPlane) { c.adaptControlPlane(&p.Spec.KubeadmConfigSpec) })
	case "KubeadmConfigTemplate":
		return change(u, func(t *bootstrapv1.KubeadmConfigTemplate) { c.adaptNode(&t.Spec.Template.Spec) })
	case "Cluster":
		return change(u, func(made *clusterv1.Cluster) { made.Spec.ClusterNetwork = c.cluster().Spec.ClusterNetwork })
	case "RegistryCache":
		return change(u, func(rc *v1alpha1.RegistryCache) {
			rc.Spec = c.RegistryCache(upstreams...).Spec
			rc.Spec.Nodes.Existing = v1alpha1.ExistingNodesIgnore
		})
	}
	return nil
}

func (c *Cluster) adaptControlPlane(spec *bootstrapv1.KubeadmConfigSpec) {
	c.adaptNode(spec)
	spec.InitConfiguration.NodeRegistration = nodeRegistration()
}

func (c *Cluster) adaptNode(spec *bootstrapv1.KubeadmConfigSpec) {
	own := c.kubeadmConfig()
	spec.JoinConfiguration.NodeRegistration = nodeRegistration()
	spec.Files = append(spec.Files, own.Files...)
	spec.PreKubeadmCommands = append(spec.PreKubeadmCommands, own.PreKubeadmCommands...)
}

// change changes an object by its Go type.
func change[T any](u *unstructured.Unstructured, by func(*T)) error {
	object := new(T)
	if err := convert(u.Object, object); err != nil {
		return err
	}
	by(object)
	return convert(object, &u.Object)
}
