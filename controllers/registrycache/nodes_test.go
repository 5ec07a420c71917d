package registrycache_test

import (
	"context"
	"maps"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

// nodeFixture has two nodes in its workload cluster, and does the work of DaemonSet controller and kubelet.
type nodeFixture struct{ *fixture }

func newNodeFixture(t *testing.T, cidr string) nodeFixture {
	t.Helper()
	f := nodeFixture{newLoneFixture(t)}
	for _, name := range []string{"n1", "n2"} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
		f.Expect(env.Client.Create(t.Context(), node)).To(Succeed())
		t.Cleanup(func() { _ = env.Client.Delete(context.Background(), node) })
	}
	f.connected(cidr)
	return f
}

// told is what nodes are told now.
func (f nodeFixture) told() desired.State {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: manifests.NodeSyncName}}
	if f.get(set)() != nil {
		return desired.State{}
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: set.Spec.Template.Spec.Volumes[5].ConfigMap.Name}}
	if f.get(config)() != nil {
		return desired.State{}
	}
	state, err := desired.Decode([]byte(config.Data["state.json"]))
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(set.Spec.Template.Annotations).To(HaveKeyWithValue(manifests.GenerationAnnotation, state.Generation))
	return state
}

func (f nodeFixture) paths() []string {
	var paths []string
	for _, file := range f.told().Files {
		paths = append(paths, file.Path)
	}
	return paths
}

// run lets a Pod of the generation that is told now run on a node.
func (f nodeFixture) run(node string, started, ready bool) {
	f.t.Helper()
	name, labels := "node-sync-"+node, manifests.Labels()
	maps.Copy(labels, manifests.NodeSyncSelector())
	_ = env.Client.Delete(f.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.namespace, Name: name, Labels: labels,
			Annotations: map[string]string{manifests.GenerationAnnotation: f.told().Generation},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "DaemonSet", Name: manifests.NodeSyncName, UID: "node-sync", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "node-sync", Image: "x"}}, TerminationGracePeriodSeconds: new(int64)},
	}
	f.Expect(env.Client.Create(f.t.Context(), pod)).To(Succeed())
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse}
	if ready {
		condition.Status = corev1.ConditionTrue
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{condition},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "node-sync", Started: &started, Ready: ready}},
	}
	f.Expect(env.Client.Status().Update(f.t.Context(), pod)).To(Succeed())
	clusters.wake(f.cluster)
}

func TestNodesAreToldAndCounted(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.0/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.Eventually(f.paths).Should(ContainElements("/opt/bin/configure-containerd-registries.sh",
		"/etc/systemd/system/configure-containerd-registries.service", "/etc/capi-registry-cache/upstreams/docker.io/hosts.toml"))
	message := f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionFalse, addonsv1.NodesNotConfiguredReason).Message
	f.Expect(message).To(And(ContainSubstring("0 of 2"), ContainSubstring("n1: node-sync does not run there yet")))

	f.run("n1", true, true)
	f.run("n2", true, false)
	f.Eventually(func() string {
		return f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionFalse, addonsv1.NodesNotConfiguredReason).Message
	}).Should(Equal("1 of 2 nodes are configured\nn2: docker.io: a trouble of node-sync-n2"))
	f.Eventually(func() *addonsv1.NodesStatus { return f.current().Status.Nodes }).
		Should(Equal(&addonsv1.NodesStatus{Total: new(int32(2)), Configured: new(int32(1))}))

	f.run("n2", true, true)
	f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionTrue, addonsv1.NodesConfiguredReason)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
}

func TestARemovedCacheStaysUntilNodesHaveForgottenIt(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.16/28")
	f.create("docker.io", "quay.io")
	f.ready("docker.io", "quay.io")
	f.Eventually(f.paths).Should(ContainElement(ContainSubstring("quay.io")))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")

	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = rc.Spec.Caches[1:] })
	f.Eventually(f.paths).ShouldNot(ContainElement(ContainSubstring("docker.io")))
	f.run("n1", true, true)
	f.Consistently(f.get(f.service("docker.io"))).Should(Succeed(), "n2 still uses it")
	f.run("n2", true, false)
	f.Eventually(f.get(f.service("docker.io"))).Should(notFound(), "a node with another trouble has forgotten it, too")
	f.Eventually(f.get(f.statefulSet("docker.io"))).Should(notFound())
	f.Expect(f.events()).NotTo(ContainElement("NodesLeftBehind"))

	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Nodes.CertsDir = "/etc/certs.d" })
	f.Eventually(func() int {
		list := &corev1.ConfigMapList{}
		f.Expect(env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace), client.MatchingLabels(manifests.Labels()))).To(Succeed())
		return len(list.Items)
	}).Should(Equal(2), "what Pods of before read stays as long as they run")
}

func TestARemovedCacheDoesNotWaitForEverForANode(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.32/28")
	f.create("docker.io", "quay.io")
	f.ready("docker.io", "quay.io")
	f.Eventually(f.paths).Should(ContainElement(ContainSubstring("docker.io")))
	f.run("n1", true, true)
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = rc.Spec.Caches[1:] })
	f.Consistently(f.get(f.service("docker.io"))).Should(Succeed())
	f.Eventually(f.get(f.service("docker.io"))).WithTimeout(2 * forgetTimeout).Should(notFound())
	f.Eventually(f.events).Should(ContainElement("NodesLeftBehind"))
}

func TestADeletedRegistryCacheClearsNodesFirst(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.48/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.Eventually(f.paths).Should(ContainElement(ContainSubstring("docker.io")))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.delete(f.cache)
	f.Eventually(func() bool { return f.told().Remove }).Should(BeTrue())
	f.Expect(f.paths()).NotTo(ContainElement(ContainSubstring("upstreams")))
	f.run("n1", true, true)
	f.Expect(f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionFalse, addonsv1.DeletingReason).Message).To(ContainSubstring("waiting for nodes"))
	f.Consistently(f.get(f.service("docker.io"))).Should(Succeed(), "n2 still uses it")
	f.run("n2", true, true)
	f.Eventually(f.get(f.service("docker.io"))).Should(notFound())
	f.Eventually(f.told).Should(Equal(desired.State{}), "node-sync goes")
	f.Consistently(f.get(f.cache)).Should(Succeed(), "Pods of node-sync are still there")
	f.Expect(env.Client.DeleteAllOf(f.t.Context(), &corev1.Pod{}, client.InNamespace(f.namespace))).To(Succeed())
	f.Eventually(f.get(f.cache)).Should(notFound())
}

func TestExistingNodesAreLeftAloneIfTheSpecSaysSo(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.64/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.Eventually(f.paths).Should(ContainElement(ContainSubstring("docker.io")))
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Nodes.Existing = addonsv1.ExistingNodesIgnore })
	f.Expect(f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionTrue, addonsv1.ExistingNodesIgnoredReason).Message).To(ContainSubstring("only Machines that boot from now on"))
	f.Eventually(f.told).Should(Equal(desired.State{}))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Eventually(func() *addonsv1.NodesStatus { return f.current().Status.Nodes }).Should(BeNil())
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
}
