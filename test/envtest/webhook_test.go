package envtest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
)

const data = "## template: jinja\n#cloud-config\nwrite_files:\n- path: /a\n  content: b\nruncmd:\n- 'kubeadm join'\n"

func owner(apiVersion, kind string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "owner", UID: "not-there"}}
}

// bootstrapSecret is a Secret as the contract of bootstrap providers wants it, of another provider than kubeadm's.
func bootstrapSecret(namespace, name, cluster, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels:          map[string]string{clusterv1.ClusterNameLabel: cluster},
			OwnerReferences: owner("bootstrap.cluster.x-k8s.io/v1beta1", "RKE2Config"),
		},
		Type: clusterv1.ClusterSecretType,
		Data: map[string][]byte{"value": []byte(value)},
	}
}

// awaitInjection returns when the cache of the manager holds the RegistryCache; dry runs show it.
func awaitInjection(t *testing.T, rc *v1alpha1.RegistryCache) {
	t.Helper()
	g := NewWithT(t)
	g.Eventually(func() string {
		s := bootstrapSecret(rc.Namespace, "dry-run", rc.Name, data)
		g.Expect(env.Client.Create(t.Context(), s, client.DryRunAll)).To(Succeed())
		return string(s.Data["value"])
	}, timeout).ShouldNot(Equal(data))
}

// A6: what the API server does not send cannot be harmed, delayed or read by us.
func TestOnlyBootstrapDataReachesTheWebhook(t *testing.T) {
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	awaitInjection(t, createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"}))
	for name, mutate := range map[string]func(*corev1.Secret){
		"a kubeconfig Secret": func(s *corev1.Secret) {
			s.OwnerReferences = owner("controlplane.cluster.x-k8s.io/v1beta2", "KubeadmControlPlane")
		},
		"a Secret without owner": func(s *corev1.Secret) { s.OwnerReferences = nil },
		"a Secret of no Cluster": func(s *corev1.Secret) { s.Labels = nil },
		"a Secret of an owner with a similar group": func(s *corev1.Secret) {
			s.OwnerReferences = owner("bootstrap.cluster.x-k8s.io.example.com/v1", "Config")
		},
		"a certificate Secret of a bootstrap config":  func(s *corev1.Secret) { s.Data = map[string][]byte{"tls.crt": []byte(data)} },
		"a Secret of a bootstrap config without data": func(s *corev1.Secret) { s.Data = nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := bootstrapSecret(namespace, "", "c1", data)
			s.GenerateName = "other-"
			mutate(s)
			want := s.DeepCopy().Data
			g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
			s.Annotations = map[string]string{"a": "b"}
			g.Expect(env.Client.Update(t.Context(), s)).To(Succeed())
			g.Expect(s.Data).To(Equal(want))
			g.Expect(env.AdmissionRequests(namespace)).To(BeEmpty())
		})
	}
}

func TestAnUpdateThatLeavesTheDataIsNotTouched(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	awaitInjection(t, rc)
	s := bootstrapSecret(namespace, "node", "c1", data)
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	expectPayloadOnce(t, rc, s.Data["value"])
	before := string(s.Data["value"])

	// Even though other data would be injected by now.
	rc.Status.Caches[0].Endpoint = "http://10.128.0.1:5000"
	g.Expect(env.Client.Status().Update(t.Context(), rc)).To(Succeed())
	s.Annotations = map[string]string{"a": "b"}
	s.OwnerReferences[0].Controller = new(bool)
	g.Expect(env.Client.Update(t.Context(), s)).To(Succeed())
	g.Expect(string(s.Data["value"])).To(Equal(before))
	g.Expect(env.AdmissionRequests(namespace)).To(HaveLen(1), "the creation, not the update")
}

func TestBootstrapDataStaysAsItIsWithoutACacheToUse(t *testing.T) {
	startWebhook(t)
	for name, prepare := range map[string]func(*testing.T, client.ObjectKey){
		"there is no RegistryCache": func(*testing.T, client.ObjectKey) {},
		"no cache has an address yet": func(t *testing.T, cluster client.ObjectKey) {
			rc := createRegistryCache(t, cluster)
			rc.Status.Caches = nil
			NewWithT(t).Expect(env.Client.Status().Update(t.Context(), rc)).To(Succeed())
		},
		"the RegistryCache is being deleted": func(t *testing.T, cluster client.ObjectKey) {
			g := NewWithT(t)
			rc := createRegistryCache(t, cluster)
			rc.Finalizers = []string{"example.com/test"}
			g.Expect(env.Client.Update(t.Context(), rc)).To(Succeed())
			g.Expect(env.Client.Delete(t.Context(), rc)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cluster := client.ObjectKey{Namespace: env.CreateNamespace(t), Name: "c1"}
			prepare(t, cluster)
			// The cache of the manager follows the API server within moments; a dry run shows when it has.
			g.Eventually(func() string {
				s := bootstrapSecret(cluster.Namespace, "node", "c1", data)
				g.Expect(env.Client.Create(t.Context(), s, client.DryRunAll)).To(Succeed())
				return string(s.Data["value"])
			}, timeout).Should(Equal(data))
		})
	}
}

func TestPausedRegistryCachesStillTellMachinesOfTheirCaches(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	rc.Annotations = map[string]string{clusterv1.PausedAnnotation: ""}
	g.Expect(env.Client.Update(t.Context(), rc)).To(Succeed())
	awaitInjection(t, rc)
	s := bootstrapSecret(namespace, "node", "c1", data)
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	expectPayloadOnce(t, rc, s.Data["value"])
}

func TestDataThatIsNotUnderstoodIsStoredUnchangedAndToldInAnEvent(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	awaitInjection(t, rc)
	const powershell = "<powershell>hunter2</powershell>\n"
	s := bootstrapSecret(namespace, "node", "c1", powershell)
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	g.Expect(string(s.Data["value"])).To(Equal(powershell))
	event := onlyEvent(t, namespace)
	g.Expect(event.Reason).To(Equal(webhooks.PassedThroughEventReason))
	g.Expect(event.Regarding.Name).To(Equal(rc.Name))
	g.Expect(event.Related.Name).To(Equal("node"))
	g.Expect(event.Note).To(And(ContainSubstring("Secret node"), Not(ContainSubstring("hunter2"))), "I7")
}

// onlyEvent waits for the first Event in a namespace.
func onlyEvent(t *testing.T, namespace string) eventsv1.Event {
	t.Helper()
	g := NewWithT(t)
	events := &eventsv1.EventList{}
	g.Eventually(func() []eventsv1.Event {
		g.Expect(env.Client.List(t.Context(), events, client.InNamespace(namespace))).To(Succeed())
		return events.Items
	}, timeout).Should(HaveLen(1))
	return events.Items[0]
}

// I1: the API server takes no Secret over 1 MiB, all keys together.
func TestDataThatWouldNotFitIntoItsSecretIsStoredUnchanged(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	awaitInjection(t, createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"}))
	s := bootstrapSecret(namespace, "node", "c1", "")
	s.Data["format"] = []byte("cloud-config")
	large := data + "#" + strings.Repeat("x", corev1.MaxSecretSize-len(s.Data["format"])-len(data)-2) + "\n"
	s.Data["value"] = []byte(large)
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	g.Expect(string(s.Data["value"])).To(Equal(large))
	g.Expect(onlyEvent(t, namespace).Reason).To(Equal(webhooks.PassedThroughEventReason))
}

// I4: the data of a MachinePool is rewritten as a whole with each rotation of its token; who rewrites what is there has ours in it.
func TestAnUpdateOfDataThatCarriesThePayloadKeepsItOnce(t *testing.T) {
	g := NewWithT(t)
	startWebhook(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	awaitInjection(t, rc)
	s := bootstrapSecret(namespace, "node", "c1", data)
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	injected := string(s.Data["value"])
	changed := strings.Replace(injected, "content: b", "content: c", 1)
	g.Expect(changed).NotTo(Equal(injected))
	s.Data["value"] = []byte(changed)
	g.Expect(env.Client.Update(t.Context(), s)).To(Succeed())
	g.Expect(string(s.Data["value"])).To(Equal(changed))
	expectPayloadOnce(t, rc, s.Data["value"])
	g.Expect(env.AdmissionRequests(namespace)).To(HaveLen(2), "the update reached the webhook too")
}

// I1: a Machine boots although the webhook is down.
func TestBootstrapDataIsStoredWhileTheWebhookIsDown(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T){
		"nothing listens": func(*testing.T) {},
		"something accepts connections and never answers": func(t *testing.T) {
			listener, err := net.Listen("tcp", env.WebhookAddress())
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			t.Cleanup(func() { _ = listener.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			prepare(t)
			namespace := env.CreateNamespace(t)
			createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
			s := bootstrapSecret(namespace, "node", "c1", data)
			start := time.Now()
			g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
			g.Expect(time.Since(start)).To(BeNumerically("<", 8*time.Second), "timeoutSeconds of the webhook, and some")
			g.Expect(string(s.Data["value"])).To(Equal(data))
		})
	}
}
