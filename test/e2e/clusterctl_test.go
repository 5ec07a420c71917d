//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// Both versions are this checkout: what an upgrade changes is the manager's Pod, its configuration, and the image of the caches.
	oldVersion, newVersion = "v0.1.0", "v0.1.1"
	workloadVariable       = "REGISTRY_CACHE_WORKLOAD_IMAGE"

	addonNamespace = "capi-registry-cache-system"

	// moveLoop is longer than a move and what follows it, until the target has settled.
	moveLoop = 3 * time.Minute
	// settled is how long the target may take to find everything again.
	settled = 4 * time.Minute
)

var _ = Describe("clusterctl", Label("slow"), Ordered, func() {
	m := &moved{}

	BeforeAll(func(ctx context.Context) { m.prepare(ctx) }, NodeTimeout(20*time.Minute))

	It("installs the add-on beside the other providers", func(ctx context.Context) {
		Expect(m.repository.Init(ctx, m.source, oldVersion, workloadVariable+"="+stack.WorkloadImage)).To(Succeed())
		Expect(m.arguments(ctx, m.source)).To(ContainElement("--workload-image=" + stack.WorkloadImage))
		m.createCluster(ctx)
	}, NodeTimeout(20*time.Minute))

	It("upgrades it, and the caches with it, while nodes pull", func(ctx context.Context) {
		Expect(m.cluster.LoadImage(ctx, m.workloadImage)).To(Succeed())
		machines := m.machines(ctx)
		image := push(ctx, m.plain, "clusterctl/upgrade")
		loop := startPullLoops(ctx, m.nodes(ctx), image.Ref(), moveLoop)
		Expect(m.repository.Clusterctl(ctx, []string{workloadVariable + "=" + m.workloadImage}, "upgrade", "apply",
			"--kubeconfig", m.source.Kubeconfig(), "--addon", "registry-cache:"+newVersion, "--wait-providers")).To(Succeed())
		Expect(m.arguments(ctx, m.source)).To(ContainElement("--workload-image=" + m.workloadImage))
		Eventually(ctx, m.cacheImages).WithArguments(ctx).WithTimeout(settled).Should(HaveEach(m.workloadImage))
		m.eventuallyReady(ctx, m.source)
		for _, p := range loop() {
			Expect(p.Error).To(BeEmpty(), p.At.Format(time.TimeOnly))
		}
		Expect(m.machines(ctx)).To(Equal(machines), "no Machine was replaced (I2)")
	}, NodeTimeout(15*time.Minute))

	It("moves a cluster while nodes pull, and changes nothing in it", func(ctx context.Context) {
		Expect(m.repository.Init(ctx, m.target, newVersion, workloadVariable+"="+m.workloadImage)).To(Succeed())
		m.changeOrder(ctx)
		before := m.look(ctx)
		endpoints := m.followEndpoints(ctx)
		image := push(ctx, m.plain, "clusterctl/move")
		slowest(pullLoops(ctx, m.nodes(ctx), image.Ref(), 3*time.Second))
		m.loop = startLoop(ctx, m.nodes(ctx), m.plain, image, moveLoop)

		Expect(m.repository.Clusterctl(ctx, nil, "move", "--kubeconfig", m.source.Kubeconfig(), "--to-kubeconfig", m.target.Kubeconfig(),
			"--namespace", m.cluster.Name)).To(Succeed())
		AddReportEntry("move", fmt.Sprintf("took %.1fs", time.Since(m.loop.began).Seconds()))
		m.target.Adopt(m.cluster)
		m.eventuallyReady(ctx, m.target)

		m.loop.wait()
		m.loop.expectNoneFailed()
		AddReportEntry("blobs past the cache", len(blobs(ctx, m.plain, m.loop.began, image.Repository)))

		after := m.look(ctx)
		Expect(after.workload).To(Equal(before.workload), "objects in the workload cluster")
		Expect(after.containers).To(Equal(before.containers))
		Expect(after.machines).To(Equal(before.machines))
		Expect(after.nodeFiles).To(Equal(before.nodeFiles), "hosts.toml")
		Expect(after.secrets).To(Equal(before.secrets), "credentials, CA certificates, authority, node payload, bootstrap data")
		Expect(after.cache).To(Equal(before.cache))
		Expect(after.set).To(Equal(before.set))
		Expect(endpoints()).To(HaveEach(Equal(before.cache.endpoints)), "no other address was ever told")
		m.expectNothingLeft(ctx)
	}, NodeTimeout(25*time.Minute))

	It("goes on in the target: new Machines, and another cache", func(ctx context.Context) {
		before := m.machines(ctx)
		Expect(m.cluster.Scale(ctx, 2)).To(Succeed())
		Expect(m.cluster.LoadImageAtBoot(ctx, m.workloadImage, 3)).To(Succeed())
		Expect(m.cluster.WaitReady(ctx)).To(Succeed())
		m.expectInjected(ctx, before)
		Eventually(ctx, func() ([]string, error) { return (&world{}).configured(ctx, m.nodes(ctx), m.plain) }).WithTimeout(comeback).Should(HaveLen(3))
		m.update(ctx, m.target, func(rc *v1alpha1.RegistryCache) {
			rc.Spec.Caches = append(rc.Spec.Caches, v1alpha1.Cache{Upstream: m.other.Host(), RemoteURL: m.other.RemoteURL()})
		})
		m.eventuallyReady(ctx, m.target)
	}, NodeTimeout(15*time.Minute))

	It("removes the add-on, and nothing of it is left", func(ctx context.Context) {
		Expect(m.target.Client.Delete(ctx, m.cluster.RegistryCache())).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(m.target.Client.Get(ctx, m.key(), &v1alpha1.RegistryCache{}))
		}).WithTimeout(settled).Should(BeTrue())
		Expect(managed(ctx, m.cluster)).To(BeEmpty())
		Expect(m.target.Client.Delete(ctx, m.newSet())).To(Succeed())
		Eventually(ctx, func() bool { return apierrors.IsNotFound(m.target.Client.Get(ctx, m.key(), m.newSet())) }).WithTimeout(settled).Should(BeTrue())

		Expect(m.repository.Clusterctl(ctx, nil, "delete", "--kubeconfig", m.target.Kubeconfig(), "--addon", "registry-cache",
			"--include-crd", "--include-namespace")).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return m.leftOfAddon(ctx) }).WithTimeout(settled).Should(BeEmpty())
		Expect(m.cluster.Delete(ctx)).To(Succeed(), "Clusters live on without the add-on, and can be deleted")
	}, NodeTimeout(15*time.Minute))

	// The last, as it depends on the machine: three control planes run beside the pulls.
	It("let no pull wait while the cluster moved (I3)", func() {
		m.loop.expectNoneSlow()
	})

	JustAfterEach(func() { m.collect() })
})

// moved is a workload cluster with two management clusters.
type moved struct {
	repository     *stack.Repository
	source, target *stack.Management
	cluster        *stack.Cluster
	// plain and guarded are the upstreams of the caches; other is one for a cache that comes later.
	plain, other *stack.Upstream
	guarded      *stack.Guarded
	password     string
	// loop is the pulls while the cluster moved.
	loop *loop
	// workloadImage is the image of the caches after the upgrade.
	workloadImage string
}

// prepare makes two empty management clusters, and a repository with two versions.
func (m *moved) prepare(ctx context.Context) {
	GinkgoHelper()
	var err error
	m.plain, m.other, m.password = env.Upstream("registry-one"), env.Upstream("registry-two"), "moved-along"
	m.guarded, _ = env.GuardedUpstreams()
	Expect(m.guarded.Create(ctx, m.password)).To(Succeed())
	DeferCleanup(m.guarded.Remove)
	m.repository, err = env.Repository(ctx)
	Expect(err).NotTo(HaveOccurred())
	watching, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	for name, into := range map[string]**stack.Management{"source": &m.source, "target": &m.target} {
		*into, err = env.Management(ctx, name)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup((*into).Remove)
		Expect((*into).StandInForCertManager(watching)).To(Succeed())
	}
	for _, version := range []string{oldVersion, newVersion} {
		m.release(ctx, version)
	}
}

// release makes a version, and brings the archives of its images to where they are needed: that of the manager into the nodes by
// containerd, that of the workload image into Docker.
func (m *moved) release(ctx context.Context, version string) {
	GinkgoHelper()
	manager, workload, err := m.repository.Release(ctx, version)
	Expect(err).NotTo(HaveOccurred())
	for _, management := range []*stack.Management{m.source, m.target} {
		Expect(management.LoadArchive(manager)).To(Succeed())
	}
	_, err = stack.Docker(ctx, nil, "load", "--input", workload)
	Expect(err).NotTo(HaveOccurred())
	m.workloadImage = "ghcr.io/capi-registry-cache/workload:" + version
	_, err = stack.Docker(ctx, nil, "image", "inspect", m.workloadImage)
	Expect(err).NotTo(HaveOccurred())
}

func (m *moved) key() client.ObjectKey {
	return client.ObjectKey{Namespace: m.cluster.Name, Name: m.cluster.Name}
}

// createCluster makes the workload cluster, with a RegistryCache whose caches need Secrets, and a set that selects nothing.
func (m *moved) createCluster(ctx context.Context) {
	GinkgoHelper()
	m.cluster = m.source.Cluster("moved", 1)
	clusters = append(clusters, m.cluster)
	rc := m.cluster.RegistryCache(m.plain, m.guarded.Upstream)
	rc.Spec.Caches[1].RemoteURL = m.guarded.RemoteURL()
	rc.Spec.Caches[1].CredentialsSecretRef = &v1alpha1.SecretReference{Name: "credentials"}
	rc.Spec.Caches[1].CABundleSecretRef = &v1alpha1.SecretReference{Name: "ca"}
	Expect(m.cluster.Create(ctx, rc, m.newSet(),
		m.secret("credentials", map[string]string{"username": m.guarded.User(), "password": m.password}),
		m.secret("ca", map[string]string{"ca.crt": string(env.AuthorityPEM())}),
	)).To(Succeed())
	Expect(m.cluster.WaitInitialized(ctx)).To(Succeed())
	Expect(m.cluster.WaitReady(ctx)).To(Succeed())
	m.eventuallyReady(ctx, m.source)
	Eventually(ctx, func() ([]string, error) { return (&world{}).configured(ctx, m.nodes(ctx), m.plain) }).WithTimeout(comeback).Should(HaveLen(2))
}

func (m *moved) secret(name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: m.cluster.Name, Name: name}, StringData: data}
}

func (m *moved) newSet() *unstructured.Unstructured {
	set := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"clusterSelector": map[string]any{"matchLabels": map[string]any{"e2e.example.com/selected": "none"}},
		"template":        map[string]any{"spec": map[string]any{"caches": []any{map[string]any{"upstream": "docker.io"}}}},
	}}}
	set.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RegistryCacheSet"))
	set.SetNamespace(m.cluster.Name)
	set.SetName(m.cluster.Name)
	return set
}

func (m *moved) nodes(ctx context.Context) []stack.Node {
	GinkgoHelper()
	controlPlane, workers, err := m.cluster.Nodes(ctx)
	Expect(err).NotTo(HaveOccurred())
	return append(controlPlane, workers...)
}

// changeOrder lets the addresses be others than those that would be chosen for the spec.
func (m *moved) changeOrder(ctx context.Context) {
	GinkgoHelper()
	m.update(ctx, m.source, func(rc *v1alpha1.RegistryCache) { slices.Reverse(rc.Spec.Caches) })
	m.eventuallyReady(ctx, m.source)
}

func (m *moved) update(ctx context.Context, in *stack.Management, change func(*v1alpha1.RegistryCache)) {
	GinkgoHelper()
	rc := &v1alpha1.RegistryCache{}
	Expect(in.Client.Get(ctx, m.key(), rc)).To(Succeed())
	before := rc.DeepCopy()
	change(rc)
	Expect(in.Client.Patch(ctx, rc, client.MergeFrom(before))).To(Succeed())
}

// eventuallyReady waits until a RegistryCache is ready as its spec is now, with all nodes configured.
func (m *moved) eventuallyReady(ctx context.Context, in *stack.Management) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		rc := &v1alpha1.RegistryCache{}
		g.Expect(in.Client.Get(ctx, m.key(), rc)).To(Succeed())
		g.Expect(rc.Status.ObservedGeneration).To(Equal(rc.Generation))
		g.Expect(rc.Status.Caches).To(HaveLen(len(rc.Spec.Caches)))
		for _, kind := range []string{v1alpha1.ReadyCondition, v1alpha1.NodesConfiguredCondition} {
			g.Expect(conditions.IsTrue(rc, kind)).To(BeTrue(), "%s: %s", kind, conditions.GetMessage(rc, kind))
		}
	}).WithTimeout(settled).Should(Succeed())
}

// arguments are those of the manager that clusterctl has installed.
func (m *moved) arguments(ctx context.Context, in *stack.Management) []string {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	Expect(in.Client.Get(ctx, client.ObjectKey{Namespace: addonNamespace, Name: "capi-registry-cache-controller-manager"}, deployment)).To(Succeed())
	return deployment.Spec.Template.Spec.Containers[0].Args
}

// cacheImages are those of all our Pods that run.
func (m *moved) cacheImages(ctx context.Context) ([]string, error) {
	pods := &corev1.PodList{}
	if err := m.cluster.Client.List(ctx, pods, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}); err != nil {
		return nil, err
	}
	var images []string
	for _, pod := range pods.Items {
		images = append(images, pod.Spec.Containers[0].Image)
	}
	return images, nil
}

func (m *moved) machines(ctx context.Context) map[string]string {
	GinkgoHelper()
	list, err := m.cluster.Machines(ctx)
	Expect(err).NotTo(HaveOccurred())
	machines := map[string]string{}
	for _, machine := range list {
		machines[machine.Name] = machine.Spec.ProviderID
	}
	return machines
}

// state is what a move must not change.
type state struct {
	workload, containers, machines, secrets, nodeFiles map[string]string
	cache                                              cacheState
	set                                                any
}

// cacheState is what is told of the caches.
type cacheState struct {
	spec        v1alpha1.RegistryCacheSpec
	endpoints   []string
	bundle      string
	annotations map[string]string
}

func (m *moved) look(ctx context.Context) state {
	GinkgoHelper()
	s := state{workload: m.workload(ctx), machines: m.machines(ctx), secrets: m.secrets(ctx), nodeFiles: map[string]string{}}
	var err error
	s.containers, err = m.cluster.Containers(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, n := range m.nodes(ctx) {
		for _, u := range []*stack.Upstream{m.plain, m.guarded.Upstream} {
			var content string
			// A node on a machine that is busy may have withdrawn it for a moment.
			Eventually(ctx, func() (err error) { content, err = n.ReadFile(ctx, stack.HostsFile(u.Host())); return err }).WithTimeout(comeback).Should(Succeed())
			s.nodeFiles[n.Name+" "+u.Host()] = content
		}
	}
	rc := &v1alpha1.RegistryCache{}
	Expect(m.management().Client.Get(ctx, m.key(), rc)).To(Succeed())
	s.cache = cacheState{spec: rc.Spec, endpoints: endpointsOf(rc), bundle: string(rc.Status.CABundle), annotations: rc.Annotations}
	set := m.newSet()
	Expect(m.management().Client.Get(ctx, m.key(), set)).To(Succeed())
	s.set = set.Object["spec"]
	return s
}

// management is where the Cluster is.
func (m *moved) management() *stack.Management {
	for _, management := range []*stack.Management{m.target, m.source} {
		if management.Client.Get(context.Background(), m.key(), &clusterv1.Cluster{}) == nil {
			return management
		}
	}
	Fail("no management cluster has the Cluster")
	return nil
}

func endpointsOf(rc *v1alpha1.RegistryCache) []string {
	var endpoints []string
	for _, entry := range rc.Status.Caches {
		endpoints = append(endpoints, entry.Upstream+" "+entry.Endpoint)
	}
	slices.Sort(endpoints)
	return endpoints
}

// workload are our objects in the workload cluster. Those whose status others write have no resource version here, and Pods their restarts.
func (m *moved) workload(ctx context.Context) map[string]string {
	GinkgoHelper()
	objects := map[string]string{}
	for kind, written := range map[schema.GroupVersionKind]bool{
		corev1.SchemeGroupVersion.WithKind("Service"): true, corev1.SchemeGroupVersion.WithKind("Secret"): true,
		corev1.SchemeGroupVersion.WithKind("ConfigMap"): true, corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"): false,
		appsv1.SchemeGroupVersion.WithKind("StatefulSet"): false, appsv1.SchemeGroupVersion.WithKind("DaemonSet"): false,
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}: true,
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		Expect(m.cluster.Client.List(ctx, list, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
		for _, o := range list.Items {
			version := ""
			if written {
				version = o.ResourceVersion
			}
			objects[kind.Kind+" "+o.Name] = fmt.Sprintf("%s %d %s", o.UID, o.Generation, version)
		}
	}
	pods := &corev1.PodList{}
	Expect(m.cluster.Client.List(ctx, pods, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
	for _, pod := range pods.Items {
		objects["Pod "+pod.Name] = fmt.Sprintf("%s %d", pod.UID, pod.Status.ContainerStatuses[0].RestartCount)
	}
	Expect(objects).To(And(HaveKey(HavePrefix("Service ")), HaveKey(HavePrefix("Pod ")), HaveKey(HavePrefix("PersistentVolumeClaim "))))
	return objects
}

// secrets are all Secrets of the Cluster's namespace, with a hash of their content.
func (m *moved) secrets(ctx context.Context) map[string]string {
	GinkgoHelper()
	list := &corev1.SecretList{}
	Expect(m.management().Client.List(ctx, list, client.InNamespace(m.cluster.Name))).To(Succeed())
	content := map[string]string{}
	for _, secret := range list.Items {
		content[secret.Name] = fmt.Sprintf("%s %x", secret.Type, sha256.Sum256(fmt.Append(nil, secret.Data)))
	}
	Expect(content).To(And(HaveKey("credentials"), HaveKey("ca"), HaveKey(v1alpha1.AuthorityName(m.cluster.Name)), HaveKey(v1alpha1.NodePayloadName(m.cluster.Name))))
	return content
}

// followEndpoints notes every set of endpoints that the target tells; what it returns ends that.
func (m *moved) followEndpoints(ctx context.Context) func() [][]string {
	GinkgoHelper()
	events, err := m.target.Client.Watch(ctx, &v1alpha1.RegistryCacheList{}, client.InNamespace(m.cluster.Name))
	Expect(err).NotTo(HaveOccurred())
	var seen [][]string
	var done sync.WaitGroup
	done.Go(func() {
		for event := range events.ResultChan() {
			rc, ok := event.Object.(*v1alpha1.RegistryCache)
			if ok && event.Type != watch.Deleted && len(rc.Status.Caches) > 0 {
				seen = append(seen, endpointsOf(rc))
			}
		}
	})
	return func() [][]string {
		GinkgoHelper()
		events.Stop()
		done.Wait()
		Expect(seen).NotTo(BeEmpty())
		return seen
	}
}

// expectNothingLeft looks into the source after a move.
func (m *moved) expectNothingLeft(ctx context.Context) {
	GinkgoHelper()
	caches, secrets := &v1alpha1.RegistryCacheList{}, &corev1.SecretList{}
	Expect(m.source.Client.List(ctx, caches, client.InNamespace(m.cluster.Name))).To(Succeed())
	Expect(m.source.Client.List(ctx, secrets, client.InNamespace(m.cluster.Name))).To(Succeed())
	Expect(caches.Items).To(BeEmpty())
	Expect(secrets.Items).To(BeEmpty())
}

// leftOfAddon are objects of the kinds that clusterctl installed which are still in the target, by the provider's label.
func (m *moved) leftOfAddon(ctx context.Context) ([]string, error) {
	var left []string
	for _, kind := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Namespace"), corev1.SchemeGroupVersion.WithKind("ServiceAccount"), corev1.SchemeGroupVersion.WithKind("Service"),
		appsv1.SchemeGroupVersion.WithKind("Deployment"), rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
		{Group: "clusterctl.cluster.x-k8s.io", Version: "v1alpha3", Kind: "Provider"},
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := m.target.Client.List(ctx, list, client.MatchingLabels{clusterv1.ProviderNameLabel: "addon-registry-cache"}); err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			left = append(left, kind.Kind+" "+o.Name)
		}
	}
	return left, nil
}

// expectInjected looks at what the Machines that are new since then booted from, in the target. The API server leaves data as it is when it cannot
// call the webhook, and node-sync makes up for it; so only the data shows that the webhook works as clusterctl installed it.
func (m *moved) expectInjected(ctx context.Context, before map[string]string) {
	GinkgoHelper()
	data := bootstrapData(ctx, m.target.Client, m.cluster)
	maps.DeleteFunc(data, func(machine, _ string) bool { _, old := before[machine]; return old })
	Expect(data).To(HaveLen(1), "of the new Machine")
	Expect(data).To(HaveEach(ContainSubstring(payload.ArchivePath)))
}

// collect keeps the logs of both management clusters after a failure.
func (m *moved) collect() {
	if !CurrentSpecReport().Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for _, management := range []*stack.Management{m.source, m.target} {
		if management == nil {
			continue
		}
		if err := management.CollectLogs(ctx, CurrentSpecReport().LeafNodeText); err != nil {
			GinkgoLogr.Info("some logs could not be collected", "reason", err.Error())
		}
	}
}
