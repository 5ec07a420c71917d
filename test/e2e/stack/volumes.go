package stack

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VolumeRoot is where the volumes of a node are.
const VolumeRoot = "/var/local-volumes"

const (
	storageClass = "local"
	// volumesPerNode is more than the caches of all specs use; a released volume is not given out again.
	volumesPerNode = 8
	// volumeSize is more than the default size of a cache; local volumes do not enforce it.
	volumeSize = "20Gi"
)

// volumeCommands make the directories of the local volumes of a node. The caches do not run as root.
func volumeCommands() []string {
	commands := make([]string, 0, volumesPerNode)
	for i := range volumesPerNode {
		commands = append(commands, fmt.Sprintf("mkdir -p -m 0777 %s/%d", VolumeRoot, i))
	}
	return commands
}

// createStorageClass makes local volumes the default. The in-tree host path provisioner would leave directories
// that only root may write to, and no other provisioner comes as a Go module.
func (c *Cluster) createStorageClass(ctx context.Context) error {
	late := storagev1.VolumeBindingWaitForFirstConsumer
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name: storageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner:       "kubernetes.io/no-provisioner",
		VolumeBindingMode: &late,
	}
	if err := c.Client.Create(ctx, class); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the StorageClass: %w", err)
	}
	return nil
}

// createVolumes gives every worker that has joined its volumes.
func (c *Cluster) createVolumes(ctx context.Context) error {
	nodes := &corev1.NodeList{}
	if err := c.Client.List(ctx, nodes); err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	for _, node := range nodes.Items {
		for i := range volumesPerNode {
			if err := c.Client.Create(ctx, localVolume(node.Name, i)); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("creating a volume of %s: %w", node.Name, err)
			}
		}
	}
	return nil
}

func localVolume(node string, i int) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", node, i)},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(volumeSize)},
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: storageClass,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: fmt.Sprintf("%s/%d", VolumeRoot, i)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: onNode(node)},
		},
	}
}

func onNode(name string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{name},
		}},
	}}}
}
