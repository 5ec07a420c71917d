package envtest

import (
	"context"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/kubeconfig"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// KubernetesVersion is the version of the Machines of test Clusters.
const KubernetesVersion = "v1.36.3"

var (
	staticMachine         = schema.GroupVersionKind{Group: "infrastructure.cluster.x-k8s.io", Version: capiVersion, Kind: "StaticMachine"}
	staticMachineTemplate = staticMachine.GroupVersion().WithKind("StaticMachineTemplate")
)

// CreateNamespace creates a namespace of its own for a test. It is not removed: nothing here would finish that.
func (e *Environment) CreateNamespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	gomega.NewWithT(t).Expect(e.Client.Create(t.Context(), ns)).To(gomega.Succeed())
	return ns.Name
}

// CreateCluster creates a Cluster without infrastructure and control plane objects, and a kubeconfig Secret that makes this
// API server its workload cluster. mutate changes the Cluster before it is created.
func (e *Environment) CreateCluster(t testing.TB, namespace, name string, mutate ...func(*clusterv1.Cluster)) *clusterv1.Cluster {
	t.Helper()
	g := gomega.NewWithT(t)
	cluster := &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       clusterv1.ClusterSpec{ControlPlaneEndpoint: clusterv1.APIEndpoint{Host: "127.0.0.1", Port: 6443}},
	}
	for _, m := range mutate {
		m(cluster)
	}
	// The Secret comes first: the ClusterCache waits half a minute after it could not connect.
	g.Expect(e.Client.Create(t.Context(), kubeconfig.GenerateSecretWithOwner(client.ObjectKeyFromObject(cluster), e.kubeconfig,
		metav1.OwnerReference{APIVersion: "controlplane.cluster.x-k8s.io/v1beta2", Kind: "KubeadmControlPlane", Name: name, UID: "not-there"},
	))).To(gomega.Succeed())
	g.Expect(e.Client.Create(t.Context(), cluster)).To(gomega.Succeed())
	return cluster
}

// MarkProvisioned reports the infrastructure of a Cluster as provisioned, which the ClusterCache waits for. StartCAPI does
// it for Clusters without infrastructure.
func (e *Environment) MarkProvisioned(t testing.TB, cluster *clusterv1.Cluster) {
	t.Helper()
	before := cluster.DeepCopy()
	cluster.Status.Initialization.InfrastructureProvisioned = ptr.To(true)
	gomega.NewWithT(t).Expect(e.Client.Status().Patch(t.Context(), cluster, client.MergeFrom(before))).To(gomega.Succeed())
}

// CreateMachine creates a Machine with a KubeadmConfig of the same name, which is the name of its bootstrap data Secret,
// and with infrastructure that is already there. mutate changes the KubeadmConfig before it is created.
func (e *Environment) CreateMachine(t testing.TB, cluster *clusterv1.Cluster, name string, controlPlane bool, mutate ...func(*bootstrapv1.KubeadmConfig)) *clusterv1.Machine {
	t.Helper()
	g := gomega.NewWithT(t)
	labels := map[string]string{clusterv1.ClusterNameLabel: cluster.Name}
	if controlPlane {
		labels[clusterv1.MachineControlPlaneLabel] = ""
	}
	meta := metav1.ObjectMeta{Namespace: cluster.Namespace, Name: name, Labels: labels}
	machine := &clusterv1.Machine{
		ObjectMeta: meta,
		Spec: clusterv1.MachineSpec{
			ClusterName: cluster.Name,
			Version:     KubernetesVersion,
			Bootstrap: clusterv1.Bootstrap{ConfigRef: clusterv1.ContractVersionedObjectReference{
				APIGroup: bootstrapv1.GroupVersion.Group, Kind: "KubeadmConfig", Name: name,
			}},
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{
				APIGroup: staticMachine.Group, Kind: staticMachine.Kind, Name: name,
			},
		},
	}
	infrastructure := &unstructured.Unstructured{Object: map[string]any{
		"spec":   map[string]any{"providerID": providerID(machine)},
		"status": map[string]any{"initialization": map[string]any{"provisioned": true}},
	}}
	infrastructure.SetGroupVersionKind(staticMachine)
	infrastructure.SetNamespace(cluster.Namespace)
	infrastructure.SetName(name)
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: *meta.DeepCopy()}
	for _, m := range mutate {
		m(config)
	}
	for _, o := range []client.Object{infrastructure, config, machine} {
		g.Expect(e.Client.Create(t.Context(), o)).To(gomega.Succeed())
	}
	return machine
}

// CreateMachineSet creates a MachineSet of one Machine, with the bootstrap template given, which it creates too, and static
// infrastructure. The Machine's bootstrap data Secret has the name of the Machine. mutate changes the MachineSet before it is created.
func (e *Environment) CreateMachineSet(t testing.TB, cluster *clusterv1.Cluster, template *bootstrapv1.KubeadmConfigTemplate, mutate ...func(*clusterv1.MachineSet)) *clusterv1.MachineSet {
	t.Helper()
	g := gomega.NewWithT(t)
	labels := map[string]string{"set": template.Name}
	set := &clusterv1.MachineSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: template.Name, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster.Name}},
		Spec:       clusterv1.MachineSetSpec{ClusterName: cluster.Name, Replicas: ptr.To[int32](1), Selector: metav1.LabelSelector{MatchLabels: labels}},
	}
	set.Spec.Template.Labels = labels
	set.Spec.Template.Spec = clusterv1.MachineSpec{
		ClusterName: cluster.Name,
		Version:     KubernetesVersion,
		Bootstrap: clusterv1.Bootstrap{ConfigRef: clusterv1.ContractVersionedObjectReference{
			APIGroup: bootstrapv1.GroupVersion.Group, Kind: "KubeadmConfigTemplate", Name: template.Name,
		}},
		InfrastructureRef: clusterv1.ContractVersionedObjectReference{
			APIGroup: staticMachine.Group, Kind: staticMachineTemplate.Kind, Name: template.Name,
		},
	}
	for _, m := range mutate {
		m(set)
	}
	infrastructure := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{}}}}}
	infrastructure.SetGroupVersionKind(staticMachineTemplate)
	infrastructure.SetNamespace(cluster.Namespace)
	infrastructure.SetName(template.Name)
	template.Namespace = cluster.Namespace
	for _, o := range []client.Object{infrastructure, template, set} {
		g.Expect(e.Client.Create(t.Context(), o)).To(gomega.Succeed())
	}
	return set
}

// JoinNode creates the Node of a Machine, as its kubelet would. A control-plane Node makes Cluster API regard the control
// plane as initialized.
func (e *Environment) JoinNode(t testing.TB, machine *clusterv1.Machine) *corev1.Node {
	t.Helper()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: machine.Namespace + "-" + machine.Name},
		Spec:       corev1.NodeSpec{ProviderID: providerID(machine)},
	}
	gomega.NewWithT(t).Expect(e.Client.Create(t.Context(), node)).To(gomega.Succeed())
	t.Cleanup(func() { _ = e.Client.Delete(context.WithoutCancel(t.Context()), node) })
	return node
}

func providerID(machine *clusterv1.Machine) string {
	return "static:///" + machine.Namespace + "/" + machine.Name
}
