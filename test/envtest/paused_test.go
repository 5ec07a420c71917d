package envtest_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
)

// TestBootstrapDataThatIsMovedStaysAsItIs creates a Secret as clusterctl does in the target: the Cluster is paused, and the RegistryCache has
// no status yet, so that the webhook knows of its mirrors and not of its caches.
func TestBootstrapDataThatIsMovedStaysAsItIs(t *testing.T) {
	startWebhook(t)
	g := NewWithT(t)
	namespace := env.CreateNamespace(t)
	cluster := env.CreateCluster(t, namespace, "c1", func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c1"}}
	rc.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io"}}
	rc.Spec.Mirrors = []v1alpha1.Mirror{{Upstream: "docker.io", Hosts: []v1alpha1.MirrorHost{{Host: "http://mirror.example.com"}}}}
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())

	source := rc.DeepCopy()
	source.Status.Caches = []v1alpha1.CacheStatus{{Upstream: "docker.io", Endpoint: "http://10.128.0.250:5000"}}
	injected := webhooks.Inject(source, []byte("#cloud-config\nruncmd:\n- kubeadm join\n"), "cloud-config", limits)
	g.Expect(injected.Injected).To(BeTrue())
	create := func(name string) string {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: "c1"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "bootstrap.cluster.x-k8s.io/v1beta2", Kind: "KubeadmConfig", Name: name, UID: "not-there"}},
			},
			Data: map[string][]byte{"value": injected.Data, "format": []byte("cloud-config")},
		}
		g.Expect(env.Client.Create(t.Context(), secret)).To(Succeed())
		return string(secret.Data["value"])
	}
	g.Expect(create("moved")).To(Equal(string(injected.Data)))
	g.Expect(env.AdmissionRequests(namespace)).To(HaveLen(1), "the webhook was asked")

	before := cluster.DeepCopy()
	cluster.Spec.Paused = nil
	g.Expect(env.Client.Patch(t.Context(), cluster, client.MergeFrom(before))).To(Succeed())
	n := 0
	g.Eventually(func() string { n++; return create("new-" + string(rune('a'+n))) }, timeout).
		ShouldNot(Equal(string(injected.Data)), "of a Cluster that is not paused data is brought up to date")
}
