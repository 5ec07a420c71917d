//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// cacheNamespace is the default of spec.namespace.
const cacheNamespace = "kube-system"

// world is the cluster that the specs share, and what they found out about it.
type world struct {
	cluster  *stack.Cluster
	one, two *stack.Upstream
	began    time.Time
	order    *recorder
	outages  []outage
	// timeouts are lines of containerd's journals.
	timeouts []containerdLine
	// prometheus scrapes the cluster once metricsSpecs started it.
	prometheus *stack.Prometheus
}

// outage is a time in which a cache was gone and hosts.toml still named it.
type outage struct {
	what     string
	from, to time.Time
}

type containerdLine struct {
	node string
	stack.JournalEntry
}

// create makes the cluster with two caches, and waits until its nodes are ready.
func (w *world) create(ctx context.Context, cluster *stack.Cluster) {
	GinkgoHelper()
	w.cluster, w.began = cluster, time.Now()
	w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
	clusters = append(clusters, cluster)
	watching, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	var err error
	w.order, err = record(watching, cluster.Name, 2)
	Expect(err).NotTo(HaveOccurred())
	Expect(cluster.Create(ctx, cluster.RegistryCache(w.one, w.two))).To(Succeed())
	Expect(cluster.WaitInitialized(ctx)).To(Succeed())
	Expect(cluster.WaitReady(ctx)).To(Succeed())
}

func (w *world) key() client.ObjectKey {
	return w.cluster.Key()
}

// status is that of the cache of an upstream.
func (w *world) status(ctx context.Context, u *stack.Upstream) v1alpha1.CacheStatus {
	GinkgoHelper()
	rc := &v1alpha1.RegistryCache{}
	Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
	i := slices.IndexFunc(rc.Status.Caches, func(s v1alpha1.CacheStatus) bool { return s.Upstream == u.Host() })
	Expect(i).To(BeNumerically(">=", 0), "status.caches has no entry for %s: %+v", u.Host(), rc.Status.Caches)
	return rc.Status.Caches[i]
}

// nodes are the control plane node first, then the workers.
func (w *world) nodes(ctx context.Context) []stack.Node {
	GinkgoHelper()
	controlPlane, workers, err := w.cluster.Nodes(ctx)
	Expect(err).NotTo(HaveOccurred())
	return append(controlPlane, workers...)
}

// workers are a worker that runs the cache of an upstream, if there is one, last.
func (w *world) workers(ctx context.Context) (first, second stack.Node) {
	GinkgoHelper()
	_, workers, err := w.cluster.Nodes(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(len(workers)).To(BeNumerically(">=", 2))
	if pods := w.cachePods(ctx, w.one); len(pods) > 0 && pods[0].Spec.NodeName == workers[0].Name {
		return workers[1], workers[0]
	}
	return workers[0], workers[1]
}

func (w *world) cachePods(ctx context.Context, u *stack.Upstream) []corev1.Pod {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(w.cluster.Client.List(ctx, pods, client.MatchingLabels{v1alpha1.InstanceLabel: w.status(ctx, u).ServiceName})).To(Succeed())
	return pods.Items
}

// workloadObject is what the Service and the StatefulSet of a cache are called.
func (w *world) workloadObject(ctx context.Context, u *stack.Upstream) metav1.ObjectMeta {
	GinkgoHelper()
	return metav1.ObjectMeta{Namespace: cacheNamespace, Name: w.status(ctx, u).ServiceName}
}

func (w *world) service(ctx context.Context, u *stack.Upstream) *corev1.Service {
	return &corev1.Service{ObjectMeta: w.workloadObject(ctx, u)}
}

func (w *world) statefulSet(ctx context.Context, u *stack.Upstream) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: w.workloadObject(ctx, u)}
}

// configured tells which of the nodes have hosts.toml for an upstream.
func (w *world) configured(ctx context.Context, nodes []stack.Node, u *stack.Upstream) ([]string, error) {
	names := []string{}
	for _, n := range nodes {
		has, err := n.HasFile(ctx, stack.HostsFile(u.Host()))
		if err != nil {
			return nil, err
		}
		if has {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// eventuallyConfigured waits until all nodes have hosts.toml, or none of them, but not beyond a point in time.
func (w *world) eventuallyConfigured(ctx context.Context, nodes []stack.Node, u *stack.Upstream, want bool, until time.Time) {
	GinkgoHelper()
	number := 0
	if want {
		number = len(nodes)
	}
	Eventually(ctx, func() ([]string, error) { return w.configured(ctx, nodes, u) }).
		WithTimeout(time.Until(until)).Should(HaveLen(number), "nodes with hosts.toml of %s", u.Host())
}

// push makes an image that no node and no cache has.
func push(ctx context.Context, u *stack.Upstream, repository string) stack.Image {
	GinkgoHelper()
	image, err := u.Push(ctx, repository)
	Expect(err).NotTo(HaveOccurred())
	return image
}

// pull is a pull by the node's containerd.
func pull(ctx context.Context, n stack.Node, image string) time.Duration {
	GinkgoHelper()
	took, err := env.Pull(ctx, n, image)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry("pull", fmt.Sprintf("%s on %s: %.3fs", image, n.Name, took.Seconds()))
	return took
}

// blobs are the requests for blobs of a repository at the upstream.
func blobs(ctx context.Context, u *stack.Upstream, since time.Time, repository string) []stack.Request {
	GinkgoHelper()
	requests, err := u.Requests(ctx, since, repository)
	Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(requests, func(r stack.Request) bool { return !r.Blob() })
}

// answers tells whether the cache answers a node; who it is, the node's unit checks.
func answers(ctx context.Context, n stack.Node, endpoint string) bool {
	_, err := n.Exec(ctx, "curl", "--silent", "--fail", "--insecure", "--max-time", "0.5", "--output", "/dev/null", endpoint+"/v2/")
	return err == nil
}
