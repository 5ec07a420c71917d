package manifests_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

func nodeSync(namespace, generation string) []client.Object {
	return manifests.NodeSyncObjects(manifests.NodeSyncValues{
		Namespace: namespace, Image: "capi-registry-cache/workload:dev", Generation: generation, Document: []byte(`{"generation":"` + generation + `"}`),
	})
}

func TestNodeSyncIsAsTheGoldenFileHasIt(t *testing.T) {
	rendered := render(t, nodeSync("kube-system", "0123456789abcdef"))
	NewWithT(t).Expect(string(rendered)).To(Equal(golden(t, "node-sync.yaml", rendered)))
}

func TestNodeSyncHasANewPodForEveryGenerationAndNeverChangesWhatOneReads(t *testing.T) {
	g := NewWithT(t)
	before, after := nodeSync("caches", "a"), nodeSync("caches", "b")
	g.Expect(before).To(HaveLen(4))
	g.Expect(before[1].GetName()).NotTo(Equal(after[1].GetName()))
	g.Expect(before[1].(*corev1.ConfigMap).Immutable).To(HaveValue(BeTrue()))
	g.Expect(before[3].GetName()).To(Equal(after[3].GetName()))
	g.Expect(before[3].(*appsv1.DaemonSet).Spec.Selector).To(Equal(after[3].(*appsv1.DaemonSet).Spec.Selector))
	g.Expect(before[3].(*appsv1.DaemonSet).Spec.Template).NotTo(Equal(after[3].(*appsv1.DaemonSet).Spec.Template))
}

func TestNodeSyncPodHasNoPrivilegeAndSeesOnlyWhatItNeeds(t *testing.T) {
	g := NewWithT(t)
	pod := nodeSync("kube-system", "a")[2].(*appsv1.DaemonSet).Spec.Template.Spec
	g.Expect(pod.HostPID || pod.HostNetwork || pod.HostIPC).To(BeFalse())
	g.Expect(pod.AutomountServiceAccountToken).To(HaveValue(BeFalse()))
	security := pod.Containers[0].SecurityContext
	g.Expect(security.Privileged).To(BeNil())
	g.Expect(security.AllowPrivilegeEscalation).To(HaveValue(BeFalse()))
	g.Expect(security.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()))
	g.Expect(security.Capabilities).To(Equal(&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}))
	var writable []string
	for _, volume := range pod.Volumes {
		for _, mount := range pod.Containers[0].VolumeMounts {
			if mount.Name == volume.Name && volume.HostPath != nil && !mount.ReadOnly {
				writable = append(writable, volume.HostPath.Path)
			}
		}
	}
	g.Expect(writable).To(ConsistOf("/etc/capi-registry-cache", "/opt/bin", "/etc/systemd/system"))
}
