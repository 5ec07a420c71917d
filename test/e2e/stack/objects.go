package stack

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// serviceCIDR is where the addresses of the caches come from.
	serviceCIDR = "10.128.0.0/16"
	podCIDR     = "10.244.0.0/16"

	infrastructureGroup = "infrastructure.cluster.x-k8s.io"
	criSocket           = "unix:///run/containerd/containerd.sock"

	// upstreamAuthorityPath is where the node's system pool finds the authority of the upstreams.
	upstreamAuthorityPath = "/etc/ssl/certs/e2e-upstreams.pem"
)

// objects are a Cluster and its templates, as a user of the Docker provider would write them.
func (c *Cluster) objects() []client.Object {
	objects := []client.Object{
		c.infrastructure("DevCluster", map[string]any{"backend": map[string]any{"docker": map[string]any{}}}),
		c.infrastructure("DevMachineTemplate", map[string]any{"template": map[string]any{"spec": machineSpec()}}),
		c.bootstrapTemplate(), c.controlPlane(), c.machineDeployment(), c.cluster(),
	}
	if c.Pooled > 0 {
		objects = append(objects, c.infrastructure("DevMachinePool", machineSpec()), c.poolConfig(), c.machinePool())
	}
	return objects
}

func (c *Cluster) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: cmp.Or(c.Namespace, c.Name), Name: c.Name}
}

func (c *Cluster) ref(group, kind string) clusterv1.ContractVersionedObjectReference {
	return clusterv1.ContractVersionedObjectReference{APIGroup: group, Kind: kind, Name: c.Name}
}

func (c *Cluster) cluster() *clusterv1.Cluster {
	return &clusterv1.Cluster{ObjectMeta: c.meta(), Spec: clusterv1.ClusterSpec{
		ClusterNetwork: clusterv1.ClusterNetwork{
			Services: clusterv1.NetworkRanges{CIDRBlocks: []string{serviceCIDR}},
			Pods:     clusterv1.NetworkRanges{CIDRBlocks: []string{podCIDR}},
		},
		ControlPlaneRef:   c.ref(controlplanev1.GroupVersion.Group, "KubeadmControlPlane"),
		InfrastructureRef: c.ref(infrastructureGroup, "DevCluster"),
	}}
}

func (c *Cluster) controlPlane() *controlplanev1.KubeadmControlPlane {
	one := int32(1)
	spec := c.kubeadmConfig()
	spec.InitConfiguration.NodeRegistration = nodeRegistration()
	return &controlplanev1.KubeadmControlPlane{ObjectMeta: c.meta(), Spec: controlplanev1.KubeadmControlPlaneSpec{
		Replicas: &one,
		Version:  KubernetesVersion,
		MachineTemplate: controlplanev1.KubeadmControlPlaneMachineTemplate{
			Spec: controlplanev1.KubeadmControlPlaneMachineTemplateSpec{InfrastructureRef: c.ref(infrastructureGroup, "DevMachineTemplate")},
		},
		KubeadmConfigSpec: spec,
	}}
}

func (c *Cluster) machineDeployment() *clusterv1.MachineDeployment {
	return &clusterv1.MachineDeployment{ObjectMeta: c.meta(), Spec: clusterv1.MachineDeploymentSpec{
		ClusterName: c.Name,
		Replicas:    &c.Workers,
		// The oldest workers have the volumes of the caches.
		Deletion: clusterv1.MachineDeploymentDeletionSpec{Order: clusterv1.NewestMachineSetDeletionOrder},
		Template: clusterv1.MachineTemplateSpec{Spec: clusterv1.MachineSpec{
			ClusterName:       c.Name,
			Version:           KubernetesVersion,
			Bootstrap:         clusterv1.Bootstrap{ConfigRef: c.ref(bootstrapv1.GroupVersion.Group, "KubeadmConfigTemplate")},
			InfrastructureRef: c.ref(infrastructureGroup, "DevMachineTemplate"),
		}},
	}}
}

func (c *Cluster) machinePool() *clusterv1.MachinePool {
	return &clusterv1.MachinePool{ObjectMeta: c.meta(), Spec: clusterv1.MachinePoolSpec{
		ClusterName: c.Name,
		Replicas:    &c.Pooled,
		Template: clusterv1.MachineTemplateSpec{Spec: clusterv1.MachineSpec{
			ClusterName:       c.Name,
			Version:           KubernetesVersion,
			Bootstrap:         clusterv1.Bootstrap{ConfigRef: c.ref(bootstrapv1.GroupVersion.Group, "KubeadmConfig")},
			InfrastructureRef: c.ref(infrastructureGroup, "DevMachinePool"),
		}},
	}}
}

func (c *Cluster) poolConfig() *bootstrapv1.KubeadmConfig {
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: c.meta(), Spec: c.kubeadmConfig()}
	config.Spec.Format = bootstrapv1.CloudConfig
	return config
}

func (c *Cluster) bootstrapTemplate() *bootstrapv1.KubeadmConfigTemplate {
	template := &bootstrapv1.KubeadmConfigTemplate{ObjectMeta: c.meta()}
	template.Spec.Template.Spec = c.kubeadmConfig()
	return template
}

// kubeadmConfig is what control plane and workers have in common: they trust the upstreams before containerd needs
// its pool of authorities for the first time, and they have directories for local volumes.
func (c *Cluster) kubeadmConfig() bootstrapv1.KubeadmConfigSpec {
	return bootstrapv1.KubeadmConfigSpec{
		Format:            c.Format,
		JoinConfiguration: bootstrapv1.JoinConfiguration{NodeRegistration: nodeRegistration()},
		Files: []bootstrapv1.File{{
			Path: upstreamAuthorityPath, Owner: "root:root", Permissions: "0644", Content: string(c.stack.authority.PEM),
		}},
		PreKubeadmCommands: append(c.containerdCommands(), volumeCommands()...),
	}
}

// containerdCommands set config_path as it stands in the configuration of image-builder.
func (c *Cluster) containerdCommands() []string {
	if !c.HostsDirectory {
		return nil
	}
	return []string{
		`printf '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "` + CertsDir + `"\n' >>/etc/containerd/config.toml`,
		"systemctl restart containerd",
	}
}

// nodeRegistration also keeps the kubelet from evicting because of the disk of the machine that runs the tests.
func nodeRegistration() bootstrapv1.NodeRegistrationOptions {
	never := "nodefs.available<0%,nodefs.inodesFree<0%,imagefs.available<0%"
	return bootstrapv1.NodeRegistrationOptions{
		CRISocket:        criSocket,
		KubeletExtraArgs: []bootstrapv1.Arg{{Name: "eviction-hard", Value: &never}},
	}
}

// machineSpec loads the workload image into every node, as no registry has it.
func machineSpec() map[string]any {
	machine := map[string]any{"customImage": NodeImage, "preLoadImages": []any{WorkloadImage}}
	return map[string]any{"backend": map[string]any{"docker": machine}}
}

// infrastructure is an object of the Docker provider; its Go types are no dependency of this module.
func (c *Cluster) infrastructure(kind string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(infrastructureGroup + "/" + servedVersion)
	u.SetKind(kind)
	u.SetNamespace(c.Key().Namespace)
	u.SetName(c.Name)
	return u
}

// FixturePod is a Pod that runs a fixture image on a given node.
func FixturePod(name, node, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			Containers:                    []corev1.Container{{Name: "idle", Image: image}},
			TerminationGracePeriodSeconds: new(int64),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
}

func describePod(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if w := status.State.Waiting; w != nil {
			return fmt.Sprintf("Pod %s: %s %s", pod.Name, w.Reason, shorten(w.Message, 300))
		}
	}
	return fmt.Sprintf("Pod %s: %s", pod.Name, pod.Status.Phase)
}
