package envtest_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/secret"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// timeout covers a first reconcile of Cluster API's controllers and their connection to the workload cluster.
const timeout = time.Minute

var endpoints = map[string]string{
	"docker.io":                 "https://10.128.0.250:5000",
	"registry.example.com:5000": "http://[fd00::fa]:5000",
}

var limits = webhooks.Limits{MaxBytes: webhooks.DefaultMaxBytes, WarnBytes: webhooks.DefaultWarnBytes}

func key(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

// startWebhook runs a manager with nothing but the webhook.
func startWebhook(t *testing.T) {
	t.Helper()
	mgr := env.NewManager(t)
	NewWithT(t).Expect(webhooks.SetupWithManager(t.Context(), mgr, limits)).To(Succeed())
	env.Start(t, mgr, true)
}

// createRegistryCache creates the RegistryCache of a Cluster with the status that its controller would write.
func createRegistryCache(t *testing.T, cluster client.ObjectKey) *v1alpha1.RegistryCache {
	t.Helper()
	g := NewWithT(t)
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: cluster.Name}}
	for upstream := range endpoints {
		rc.Spec.Caches = append(rc.Spec.Caches, v1alpha1.Cache{Upstream: upstream})
	}
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	for _, c := range rc.Spec.Caches {
		rc.Status.Caches = append(rc.Status.Caches, v1alpha1.CacheStatus{Upstream: c.Upstream, Endpoint: endpoints[c.Upstream]})
	}
	rc.Status.Caches = append(rc.Status.Caches, v1alpha1.CacheStatus{Upstream: "no-address-yet.io"})
	ca, err := authority.New(time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	rc.Status.CABundle = authority.Bundle{ca.Certificate}.PEM()
	g.Expect(env.Client.Status().Update(t.Context(), rc)).To(Succeed())
	return rc
}

// bootstrapData waits for the bootstrap data Secret of a Machine.
func bootstrapData(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	NewWithT(t).Eventually(func() error {
		return env.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, s)
	}, timeout).Should(Succeed(), "bootstrap data of "+name)
	return s
}

// cloudConfig is what these tests read of a cloud-config.
type cloudConfig struct {
	WriteFiles []struct{ Path, Encoding, Content string } `json:"write_files"`
	RunCmd     []string                                   `json:"runcmd"`
}

func parse(g *WithT, data []byte) cloudConfig {
	parsed := cloudConfig{}
	g.Expect(yaml.Unmarshal(data, &parsed)).To(Succeed())
	return parsed
}

// expectPayloadOnce holds data against the payload of the caches in the status: each file once and nothing else on our paths,
// the unit started once, before kubeadm.
func expectPayloadOnce(t *testing.T, rc *v1alpha1.RegistryCache, data []byte) {
	t.Helper()
	g := NewWithT(t)
	parsed := parse(g, data)
	g.Expect(installed(t, parsed)).To(Equal(nodeFiles(g, rc)))
	expectUnitStartedBeforeKubeadm(g, parsed.RunCmd)
}

// nodeFiles are what a node has to have for the caches in the status.
func nodeFiles(g *WithT, rc *v1alpha1.RegistryCache) map[string]string {
	values := payload.Values{CertsDir: rc.Spec.Nodes.CertsDir}
	for _, c := range rc.Status.Caches {
		cache := payload.Cache{Upstream: c.Upstream, Endpoint: c.Endpoint}
		if strings.HasPrefix(c.Endpoint, "https://") {
			cache.CA = rc.Status.CABundle
		}
		if c.Endpoint != "" {
			values.Caches = append(values.Caches, cache)
		}
	}
	files, err := payload.Files(values)
	g.Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, f := range files {
		all[f.Path] = string(f.Content)
	}
	return all
}

// installed are the files that the one archive in data makes on a node.
func installed(t *testing.T, data cloudConfig) map[string]string {
	t.Helper()
	g := NewWithT(t)
	var archives [][]byte
	for _, f := range data.WriteFiles {
		if payload.Owned(f.Path) {
			content, err := base64.StdEncoding.DecodeString(f.Content)
			g.Expect(err).NotTo(HaveOccurred())
			archives = append(archives, content)
		}
	}
	g.Expect(archives).To(HaveLen(1), "the files travel once")
	return envtest.Install(t, archives[0])
}

func expectUnitStartedBeforeKubeadm(g *WithT, commands []string) {
	unit, kubeadm := []int{}, []int{}
	for i, c := range commands {
		if strings.Contains(c, payload.UnitName) {
			unit = append(unit, i)
		}
		if strings.Contains(c, "kubeadm init") || strings.Contains(c, "kubeadm join") {
			kubeadm = append(kubeadm, i)
		}
	}
	g.Expect(unit).To(HaveLen(1), "the unit is started once")
	g.Expect(kubeadm).To(HaveLen(1), "the data is that of a kubeadm node")
	g.Expect(unit[0]).To(BeNumerically("<", kubeadm[0]))
}

// A6: the data that Cluster API's own bootstrap provider writes, in each of the three ways it writes it.
func TestBootstrapDataOfTheKubeadmProviderCarriesThePayloadOnce(t *testing.T) {
	startWebhook(t)
	env.StartCAPI(t)
	namespace := env.CreateNamespace(t)
	rc := createRegistryCache(t, client.ObjectKey{Namespace: namespace, Name: "c1"})
	cluster := env.CreateCluster(t, namespace, "c1")

	first := env.CreateMachine(t, cluster, "cp-1", true)
	t.Run("init", func(t *testing.T) {
		expectPayloadOnce(t, rc, bootstrapData(t, namespace, "cp-1").Data["value"])
	})
	env.JoinNode(t, first)
	env.CreateMachine(t, cluster, "cp-2", true)
	env.CreateMachine(t, cluster, "worker-1", false)
	for _, name := range []string{"cp-2", "worker-1"} {
		t.Run("join of "+name, func(t *testing.T) {
			g := NewWithT(t)
			data := bootstrapData(t, namespace, name).Data["value"]
			expectPayloadOnce(t, rc, data)
			g.Expect(string(data)).To(ContainSubstring("kubeadm join"))
		})
	}
	t.Run("new data after token rotation for a MachinePool", func(t *testing.T) { testTokenRotation(t, cluster, rc) })
	t.Run("clusterctl move creates the same data again", func(t *testing.T) { testRecreate(t, namespace, rc) })
	t.Run("only bootstrap data has reached the webhook", func(t *testing.T) { testRequests(t, namespace) })
}

// testTokenRotation removes the bootstrap token of a MachinePool in the workload cluster; the provider then makes another
// one and replaces the whole Secret by an update.
func testTokenRotation(t *testing.T, cluster *clusterv1.Cluster, rc *v1alpha1.RegistryCache) {
	g := NewWithT(t)
	config := createMachinePool(t, cluster, "pool-1")
	before := bootstrapData(t, cluster.Namespace, "pool-1")
	expectPayloadOnce(t, rc, before.Data["value"])

	token := ""
	g.Eventually(func() string {
		g.Expect(env.Client.Get(t.Context(), key(config), config)).To(Succeed())
		token = config.Spec.JoinConfiguration.Discovery.BootstrapToken.Token
		return token
	}, timeout).ShouldNot(BeEmpty())
	id, _, _ := strings.Cut(token, ".")
	g.Expect(env.Client.Delete(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id},
	})).To(Succeed())
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"test":"reconcile"}}}`))
	g.Expect(env.Client.Patch(t.Context(), config, patch)).To(Succeed())

	after := &corev1.Secret{}
	g.Eventually(func() string {
		g.Expect(env.Client.Get(t.Context(), key(before), after)).To(Succeed())
		return string(after.Data["value"])
	}, timeout).ShouldNot(Equal(string(before.Data["value"])))
	g.Expect(after.UID).To(Equal(before.UID), "the provider updated the Secret")
	g.Expect(string(after.Data["value"])).NotTo(ContainSubstring(token))
	expectPayloadOnce(t, rc, after.Data["value"])
}

func createMachinePool(t *testing.T, cluster *clusterv1.Cluster, name string) *bootstrapv1.KubeadmConfig {
	t.Helper()
	g := NewWithT(t)
	meta := metav1.ObjectMeta{Namespace: cluster.Namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster.Name}}
	pool := &clusterv1.MachinePool{ObjectMeta: meta, Spec: clusterv1.MachinePoolSpec{
		ClusterName: cluster.Name,
		Template: clusterv1.MachineTemplateSpec{Spec: clusterv1.MachineSpec{
			ClusterName: cluster.Name,
			Version:     envtest.KubernetesVersion,
			Bootstrap: clusterv1.Bootstrap{ConfigRef: clusterv1.ContractVersionedObjectReference{
				APIGroup: bootstrapv1.GroupVersion.Group, Kind: "KubeadmConfig", Name: name,
			}},
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{
				APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "StaticMachine", Name: name,
			},
		}},
	}}
	g.Expect(env.Client.Create(t.Context(), pool)).To(Succeed())
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: meta}
	config.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(pool, clusterv1.GroupVersion.WithKind("MachinePool"))}
	g.Expect(env.Client.Create(t.Context(), config)).To(Succeed())
	return config
}

// testRecreate does what clusterctl does in the target cluster: it creates the Secret that it found in the source.
func testRecreate(t *testing.T, namespace string, rc *v1alpha1.RegistryCache) {
	g := NewWithT(t)
	s := bootstrapData(t, namespace, "cp-2")
	before := string(s.Data["value"])
	g.Expect(env.Client.Delete(t.Context(), s)).To(Succeed())
	s.ResourceVersion, s.UID = "", ""
	g.Expect(env.Client.Create(t.Context(), s)).To(Succeed())
	g.Expect(string(s.Data["value"])).To(Equal(before))
	expectPayloadOnce(t, rc, s.Data["value"])
}

// testRequests looks back at everything that Cluster API wrote: kubeconfig and certificate Secrets have the label too.
func testRequests(t *testing.T, namespace string) {
	g := NewWithT(t)
	written := &corev1.SecretList{}
	g.Expect(env.Client.List(t.Context(), written, client.InNamespace(namespace), client.HasLabels{clusterv1.ClusterNameLabel})).To(Succeed())
	names := []string{}
	for _, s := range written.Items {
		names = append(names, s.Name)
	}
	g.Expect(names).To(ContainElements("c1-"+string(secret.Kubeconfig), "c1-"+string(secret.ClusterCA)), "such Secrets were written")
	g.Expect(env.AdmissionRequests(namespace)).To(ConsistOf(
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "cp-1"},
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "cp-2"},
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "worker-1"},
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "pool-1"},
		// The provider tries to create before it updates.
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "pool-1"},
		envtest.AdmissionRequest{Operation: admissionv1.Update, Namespace: namespace, Name: "pool-1"},
		// The re-creation.
		envtest.AdmissionRequest{Operation: admissionv1.Create, Namespace: namespace, Name: "cp-2"},
	))
}
