//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// expiry is how long a blob with the shortest ttl may be on the disk: its minute, the next look of the cache, and then some.
	shortTTL = time.Minute
	expiry   = 4 * time.Minute
)

// The first upstream has two replicas, the cache of the second reaches it through an egress proxy.
var _ = Describe("A cluster whose caches use their options", Label("slow"), Ordered, ContinueOnFailure, func() {
	w := &world{}
	var proxy stack.EgressProxy

	BeforeAll(func(ctx context.Context) {
		var err error
		proxy, err = env.StartEgressProxy(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(env.RemoveEgressProxy)
		w.cluster, w.began = env.Cluster("options", 2), time.Now()
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		clusters = append(clusters, w.cluster)
		Expect(w.cluster.Create(ctx, w.withOptions(proxy))).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		w.eventuallyReady(ctx, w.one, 2)
		w.eventuallyReady(ctx, w.two, 1)
		for _, u := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), u, true, time.Now().Add(comeback))
		}
	}, NodeTimeout(15*time.Minute))
	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))

	It("pulls through an egress proxy", func(ctx context.Context) {
		image, nodes, since := push(ctx, w.two, "options/proxied"), w.nodes(ctx), time.Now()
		pull(ctx, nodes[0], image.Ref())
		asked, err := proxy.Requests(ctx, since)
		Expect(err).NotTo(HaveOccurred())
		through := slices.DeleteFunc(asked, func(r string) bool {
			return !strings.Contains(r, " "+proxy.RemoteURL(w.two)+"/v2/"+image.Repository+"/blobs/")
		})
		Expect(through).NotTo(BeEmpty(), "only the proxy knows the name")
		Expect(blobs(ctx, w.two, since, image.Repository)).To(HaveLen(len(through)), "nobody asked the upstream but the proxy")

		since = time.Now()
		pull(ctx, nodes[1], image.Ref())
		Expect(blobs(ctx, w.two, since, image.Repository)).To(BeEmpty())
		Expect(proxy.Requests(ctx, since)).NotTo(ContainElement(ContainSubstring("/blobs/")))
	}, NodeTimeout(3*time.Minute))

	It("has its replicas on different nodes, and each its own store", func(ctx context.Context) {
		image := push(ctx, w.one, "options/replicas")
		w.fill(ctx, image)
		on := map[string]bool{}
		for _, pod := range w.cachePods(ctx, w.one) {
			on[pod.Spec.NodeName] = true
		}
		Expect(on).To(HaveLen(2))
		for name := range on {
			Expect(w.storedBlobs(ctx, stack.Node{Name: name}, image)).NotTo(BeEmpty(), name)
		}
	}, NodeTimeout(5*time.Minute))

	It("goes on while a node with a replica is drained, and lets only one go at a time", func(ctx context.Context) {
		image := push(ctx, w.one, "options/drained")
		w.fill(ctx, image)
		pods := w.cachePods(ctx, w.one)
		drained, other := pods[0].Spec.NodeName, pods[1]
		loop := startLoop(ctx, w.nodes(ctx), w.one, image, 45*time.Second)
		w.cordon(ctx, drained, true)
		defer w.cordon(context.WithoutCancel(ctx), drained, false) // DeferCleanup of a last spec comes when the cluster is gone
		w.evictAll(ctx, drained)
		Eventually(ctx, func() ([]string, error) { return w.staying(ctx, drained, w.one) }).WithTimeout(time.Minute).Should(BeEmpty())
		Expect(apierrors.IsTooManyRequests(w.evict(ctx, other))).To(BeTrue(), "the PodDisruptionBudget keeps the last replica")
		loop.wait()
		loop.expectNoneFailed()
		loop.expectNoneSlow()

		since := time.Now()
		pullLoops(ctx, w.nodes(ctx), image.Ref(), 10*time.Second)
		Expect(blobs(ctx, w.one, since, image.Repository)).To(BeEmpty(), "the replica that is left serves all")
		w.cordon(ctx, drained, false)
		w.eventuallyReady(ctx, w.one, 2)
	}, NodeTimeout(8*time.Minute))

	It("removes the claim of a replica that is no longer wanted", func(ctx context.Context) {
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].Replicas = new(int32(1)) })
		name := w.status(ctx, w.one).ServiceName
		Eventually(ctx, func(g Gomega) {
			claims, budgets := &corev1.PersistentVolumeClaimList{}, &policyv1.PodDisruptionBudgetList{}
			g.Expect(w.cluster.Client.List(ctx, claims, client.MatchingLabels{v1alpha1.InstanceLabel: name})).To(Succeed())
			g.Expect(claims.Items).To(ConsistOf(HaveField("Name", "store-"+name+"-0")))
			g.Expect(w.cluster.Client.List(ctx, budgets, client.MatchingLabels{v1alpha1.InstanceLabel: name})).To(Succeed())
			g.Expect(budgets.Items).To(BeEmpty())
		}).WithTimeout(comeback).Should(Succeed())
		w.eventuallyReady(ctx, w.one, 1)
	}, NodeTimeout(5*time.Minute))

	It("removes what is older than its ttl from the disk", func(ctx context.Context) {
		w.update(ctx, func(rc *v1alpha1.RegistryCache) {
			rc.Spec.Caches[0].GarbageCollection.TTL = &metav1.Duration{Duration: shortTTL}
		})
		w.eventuallyRuns(ctx, func(_ corev1.Container, config string) bool { return strings.Contains(config, "ttl: 1m0s") })
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
		image, node := push(ctx, w.one, "options/expiring"), w.nodes(ctx)[0]
		since := time.Now()
		pull(ctx, node, image.Ref())
		holder := stack.Node{Name: w.cachePods(ctx, w.one)[0].Spec.NodeName}
		stored := w.storedBlobs(ctx, holder, image)
		Expect(stored).NotTo(BeEmpty())
		Eventually(ctx, func() ([]string, error) { return w.stillStored(ctx, holder, stored) }).
			WithPolling(5 * time.Second).WithTimeout(expiry).Should(BeEmpty())
		AddReportEntry("expired", fmt.Sprintf("%d blobs gone %.0fs after they were pulled", len(stored), time.Since(since).Seconds()))
		Expect(time.Since(since)).To(BeNumerically(">=", shortTTL))

		since = time.Now()
		pull(ctx, w.nodes(ctx)[1], image.Ref())
		Expect(blobs(ctx, w.one, since, image.Repository)).NotTo(BeEmpty(), "it is pulled anew")
	}, NodeTimeout(10*time.Minute))

	It("works with a stock registry within its limits", func(ctx context.Context) {
		w.update(ctx, func(rc *v1alpha1.RegistryCache) {
			rc.Spec.Caches[0].Replicas = new(int32(1))
			rc.Spec.Caches[0].GarbageCollection.TTL = &metav1.Duration{Duration: time.Hour}
		})
		w.eventuallyRuns(ctx, func(_ corev1.Container, config string) bool { return strings.Contains(config, "ttl: 1h0m0s") })
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
		before := push(ctx, w.one, "options/before-stock")
		pull(ctx, w.nodes(ctx)[0], before.Ref())
		Expect(w.cluster.LoadImage(ctx, stack.StockImage)).To(Succeed())
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].Image = stack.StockImage })
		w.eventuallyRuns(ctx, func(c corev1.Container, _ string) bool { return c.Image == stack.StockImage })
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
		image, first, second := push(ctx, w.one, "options/stock"), w.nodes(ctx)[0], w.nodes(ctx)[1]
		pull(ctx, first, image.Ref())
		since := time.Now()
		pull(ctx, second, image.Ref())
		Expect(blobs(ctx, w.one, since, image.Repository)).To(BeEmpty())
		pull(ctx, second, before.Ref())
		Expect(blobs(ctx, w.one, since, before.Repository)).To(BeEmpty(), "what our cache had stored is served")

		By("its limit: it does not start while its upstream is down, and nodes do without it")
		Expect(w.one.Stop(ctx)).To(Succeed())
		DeferCleanup(w.one.Start)
		pod := w.cachePods(ctx, w.one)[0]
		Expect(w.cluster.Client.Delete(ctx, &pod)).To(Succeed())
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, false, time.Now().Add(2*time.Minute))
		ready := func() int32 { return *w.status(ctx, w.one).ReadyReplicas }
		Eventually(ctx, ready).WithTimeout(time.Minute).Should(BeZero(), "nodes may know it before the status does")
		Consistently(ctx, ready).WithTimeout(20 * time.Second).Should(BeZero())
		Expect(w.one.Start(ctx)).To(Succeed())
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(2*comeback))

		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].Image = "" })
		w.eventuallyRuns(ctx, func(c corev1.Container, _ string) bool { return c.Image == stack.WorkloadImage })
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
		since = time.Now()
		pull(ctx, w.nodes(ctx)[2], image.Ref())
		Expect(blobs(ctx, w.one, since, image.Repository)).To(BeEmpty(), "what the stock registry had stored is served")
	}, NodeTimeout(20*time.Minute))
})

func (w *world) withOptions(proxy stack.EgressProxy) *v1alpha1.RegistryCache {
	rc := w.cluster.RegistryCache(w.one, w.two)
	rc.Spec.Caches[0].Replicas = new(int32(2))
	rc.Spec.Caches[1].RemoteURL = proxy.RemoteURL(w.two)
	rc.Spec.Caches[1].Proxy = &v1alpha1.Proxy{HTTPProxy: proxy.URL()}
	return rc
}

// eventuallyReady waits for all replicas of a cache.
func (w *world) eventuallyReady(ctx context.Context, u *stack.Upstream, replicas int32) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		set := w.statefulSet(ctx, u)
		g.Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
		g.Expect(set.Status.ObservedGeneration).To(Equal(set.Generation))
		g.Expect([]int32{set.Status.Replicas, set.Status.ReadyReplicas, set.Status.UpdatedReplicas}).To(HaveEach(replicas))
	}).WithTimeout(comeback).Should(Succeed())
}

// eventuallyRuns waits until the one Pod of the first cache is ready and as it should be, by its container and its configuration.
func (w *world) eventuallyRuns(ctx context.Context, as func(c corev1.Container, config string) bool) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		secret := &corev1.Secret{ObjectMeta: w.workloadObject(ctx, w.one)}
		g.Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
		set := w.statefulSet(ctx, w.one)
		g.Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
		g.Expect(as(set.Spec.Template.Spec.Containers[0], string(secret.Data["config.yml"]))).To(BeTrue())
	}).WithTimeout(comeback).Should(Succeed())
	w.eventuallyReady(ctx, w.one, 1)
}

// fill pulls an image until every replica has been asked for all of it: connections go to any of them.
func (w *world) fill(ctx context.Context, image stack.Image) {
	GinkgoHelper()
	pods := w.cachePods(ctx, w.one)
	Eventually(ctx, func(g Gomega) {
		for _, p := range pullLoops(ctx, w.nodes(ctx), image.Ref(), 5*time.Second) {
			g.Expect(p.Error).To(BeEmpty())
		}
		want := len(w.upstreamBlobs(ctx, image))
		for _, pod := range pods {
			g.Expect(w.storedBlobs(ctx, stack.Node{Name: pod.Spec.NodeName}, image)).To(HaveLen(want), pod.Name)
		}
	}).WithTimeout(2 * time.Minute).Should(Succeed())
}

// upstreamBlobs are the digests, in hexadecimal, of the blobs of an image that anybody has asked the upstream for.
func (w *world) upstreamBlobs(ctx context.Context, image stack.Image) []string {
	GinkgoHelper()
	var digests []string
	for _, r := range blobs(ctx, w.one, w.began, image.Repository) {
		path, _, _ := strings.Cut(r.Path, "?")
		_, hex, found := strings.Cut(path, "/blobs/sha256:")
		if found && r.Method == "GET" && !slices.Contains(digests, hex) {
			digests = append(digests, hex)
		}
	}
	Expect(digests).NotTo(BeEmpty())
	return digests
}

// storedBlobs are the files of the blobs of an image in the caches' volumes on a node.
func (w *world) storedBlobs(ctx context.Context, n stack.Node, image stack.Image) []string {
	GinkgoHelper()
	var files []string
	for _, hex := range w.upstreamBlobs(ctx, image) {
		found, err := n.Exec(ctx, "find", stack.VolumeRoot, "-path", "*/sha256/"+hex[:2]+"/"+hex+"/data")
		Expect(err).NotTo(HaveOccurred())
		files = append(files, strings.Fields(found)...)
	}
	return files
}

// stillStored are those of the files that a node still has.
func (w *world) stillStored(ctx context.Context, n stack.Node, files []string) ([]string, error) {
	left, err := n.Exec(ctx, append([]string{"sh", "-c", `for f; do [ ! -e "$f" ] || echo "$f"; done`, "sh"}, files...)...)
	return strings.Fields(left), err
}

func (w *world) cordon(ctx context.Context, node string, cordoned bool) {
	GinkgoHelper()
	patch := client.RawPatch("application/strategic-merge-patch+json", fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned))
	Expect(w.cluster.Client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, patch)).To(Succeed())
}

// staying are the Pods of a cache on a node that are not going.
func (w *world) staying(ctx context.Context, node string, u *stack.Upstream) ([]string, error) {
	pods := &corev1.PodList{}
	err := w.cluster.Client.List(ctx, pods, client.MatchingLabels{v1alpha1.InstanceLabel: w.status(ctx, u).ServiceName})
	var names []string
	for _, p := range pods.Items {
		if p.Spec.NodeName == node && p.DeletionTimestamp.IsZero() {
			names = append(names, p.Name)
		}
	}
	return names, err
}

// evictAll evicts what kubectl drain does: all but the Pods of DaemonSets and those of the node itself.
func (w *world) evictAll(ctx context.Context, node string) {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(w.cluster.Client.List(ctx, pods)).To(Succeed())
	for _, pod := range pods.Items {
		owner := metav1.GetControllerOf(&pod)
		if pod.Spec.NodeName != node || owner == nil || owner.Kind == "DaemonSet" || owner.Kind == "Node" {
			continue
		}
		Eventually(ctx, func() error { return client.IgnoreNotFound(w.evict(ctx, pod)) }).WithTimeout(time.Minute).Should(Succeed(), pod.Name)
	}
}

func (w *world) evict(ctx context.Context, pod corev1.Pod) error {
	return w.cluster.Client.SubResource("eviction").Create(ctx, &pod, &policyv1.Eviction{})
}
