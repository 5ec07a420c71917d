//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// takeover is how long nodes may take once the caches answer.
	takeover = 30 * time.Second

	nodeSync = "registry-cache-node-sync"
	// ourFiles are all places where a node may have something of ours; containerd removes the layers of our Pods by itself.
	ourFiles = "find /etc /opt /run /var/lib -xdev -path /var/lib/containerd -prune -o \\( -path '*capi-registry-cache*' -o -name 'configure-containerd-registries*' \\) -print 2>/dev/null;" +
		" grep -rls 'managed by capi-registry-cache' /etc 2>/dev/null; systemctl list-unit-files --no-legend 'configure-containerd*'; systemctl list-units --all --no-legend 'configure-containerd*'; true"
)

var _ = Describe("A cluster that was there before its RegistryCache", Ordered, ContinueOnFailure, func() {
	w := &world{}
	var machines []string

	BeforeAll(func(ctx context.Context) {
		w.cluster, w.began = env.Cluster("existing", 2), time.Now()
		w.cluster.HostsDirectory = true
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		clusters = append(clusters, w.cluster)
		Expect(w.cluster.Create(ctx)).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		var err error
		machines, err = w.machines(ctx)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(15*time.Minute))

	It("configures all nodes as soon as the caches answer, and replaces none", func(ctx context.Context) {
		loaded := w.unitsLoaded(ctx)
		Expect(env.Client.Create(ctx, w.cluster.RegistryCache(w.one))).To(Succeed())
		w.eventuallyAnswers(ctx, w.one)
		answered := time.Now()
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, answered.Add(takeover))
		AddReportEntry("takeover", fmt.Sprintf("%.1fs after the first answer", time.Since(answered).Seconds()))
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		Expect(w.machines(ctx)).To(Equal(machines))
		Expect(w.unitsLoaded(ctx)).To(Equal(loaded), "a reload of units may take devices from running containers")
	}, NodeTimeout(5*time.Minute))

	It("leaves somebody else's hosts.toml alone, tells of it, and takes over once it is gone", func(ctx context.Context) {
		node := w.nodes(ctx)[2]
		file := stack.HostsFile(w.two.Host())
		const foreign = "# mine"
		_, err := node.Exec(ctx, "sh", "-c", `mkdir -p "${0%/*}" && echo "$1" >"$0"`, file, foreign)
		Expect(err).NotTo(HaveOccurred())
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = w.cluster.RegistryCache(w.one, w.two).Spec.Caches })
		w.eventuallyNodes(ctx, metav1.ConditionFalse, node.Name+": "+w.two.Host()+": "+file+" is not ours")
		Expect(node.ReadFile(ctx, file)).To(Equal(foreign))
		w.eventuallyConfigured(ctx, w.nodes(ctx)[:2], w.two, true, time.Now().Add(comeback))

		_, err = node.Exec(ctx, "rm", file)
		Expect(err).NotTo(HaveOccurred())
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		Expect(node.ReadFile(ctx, file)).To(ContainSubstring(w.status(ctx, w.two).Endpoint))
	}, NodeTimeout(8*time.Minute))

	inUseSpecs(w)

	It("adds, changes and removes an upstream while every node pulls, without a failed or slow pull", func(ctx context.Context) {
		image := push(ctx, w.one, "loop/image")
		watched := w.watch(ctx, w.one)
		loop := startLoop(ctx, w.nodes(ctx), w.one, image, 2*time.Minute)
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = w.cluster.RegistryCache(w.two).Spec.Caches })
		w.eventuallyGone(ctx, w.one)
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = w.cluster.RegistryCache(w.one, w.two).Spec.Caches })
		w.eventuallyAnswers(ctx, w.one)
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(takeover))
		w.update(ctx, func(rc *v1alpha1.RegistryCache) {
			rc.Spec.Caches[0].GarbageCollection.TTL = &metav1.Duration{Duration: 24 * time.Hour}
		})
		loop.wait()
		watched.expectForgottenFirst()
		loop.expectNoneFailed()
		loop.expectNoneSlow()
		w.expectNoTimeouts(ctx)
	}, NodeTimeout(10*time.Minute))

	It("converges when node-sync, kubelet, a node or the DaemonSet go away, while nodes pull", Label("slow"), func(ctx context.Context) {
		w.ensureConfigured(ctx)
		image, node := push(ctx, w.one, "disturbed/image"), w.nodes(ctx)[1]
		for what, disturb := range map[string]func(){
			"node-sync killed": func() {
				_, err := node.Exec(ctx, "pkill", "-KILL", "-f", "node-sync")
				Expect(err).NotTo(HaveOccurred())
			},
			"kubelet restarted": func() { _, err := node.Exec(ctx, "systemctl", "restart", "kubelet"); Expect(err).NotTo(HaveOccurred()) },
			"DaemonSet deleted": func() { w.deleteNodeSync(ctx) },
			"unit stopped": func() {
				_, err := node.Exec(ctx, "systemctl", "stop", stack.NodeUnit)
				Expect(err).NotTo(HaveOccurred())
			},
			"desired state gone": func() {
				_, err := node.Exec(ctx, "sh", "-c", "rm -r /etc/capi-registry-cache/*")
				Expect(err).NotTo(HaveOccurred())
			},
		} {
			By(what)
			disturb()
			for _, p := range pullLoops(ctx, w.nodes(ctx), image.Ref(), 10*time.Second) {
				Expect(p.Error).To(BeEmpty(), what)
			}
			w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(time.Minute))
			w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		}
		By("node rebooted")
		nodes := w.nodes(ctx)
		looping := startPullLoops(ctx, []stack.Node{nodes[0], nodes[2]}, image.Ref(), 30*time.Second)
		Expect(node.Restart(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		w.eventuallyConfigured(ctx, nodes, w.one, true, time.Now().Add(2*time.Minute))
		for _, p := range append(looping(), pullLoops(ctx, nodes, image.Ref(), 5*time.Second)...) {
			Expect(p.Error).To(BeEmpty(), "node rebooted")
		}
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		Expect(w.machines(ctx)).To(Equal(machines))
	}, NodeTimeout(12*time.Minute))

	It("costs a node little while nothing happens", Label("slow"), func(ctx context.Context) {
		const idle = 10 * time.Minute
		w.ensureConfigured(ctx)
		nodes := w.nodes(ctx)
		cache, err := w.cluster.Cache(ctx, w.one)
		Expect(err).NotTo(HaveOccurred())
		requests, began := w.requests(ctx, cache, nodes[0]), time.Now()
		before := map[string]float64{}
		for _, n := range nodes {
			nodeSync, unit := used(ctx, n)
			before[n.Name] = nodeSync.cpu + unit.cpu
		}
		select {
		case <-ctx.Done():
		case <-time.After(idle):
		}
		for _, n := range nodes {
			nodeSync, unit := used(ctx, n)
			share := 100 * (nodeSync.cpu + unit.cpu - before[n.Name]) / time.Since(began).Seconds()
			AddReportEntry("footprint of "+n.Name, fmt.Sprintf("node-sync %.1f MiB (%.1f anonymous), %.2fs of CPU since it started; unit %.1f MiB (%.1f), %.2fs; together now %.2f %% of a core",
				nodeSync.resident, nodeSync.anonymous, nodeSync.cpu, unit.resident, unit.anonymous, unit.cpu, share))
			Expect(nodeSync.resident).To(BeNumerically("<=", 20), n.Name)
			Expect(share).To(BeNumerically("<=", 1), n.Name)
		}
		perNode := float64(w.requests(ctx, cache, nodes[0])-requests) / float64(len(nodes)) / time.Since(began).Minutes()
		AddReportEntry("requests of the cache", fmt.Sprintf("%.1f per node and minute", perNode))
		Expect(perNode).To(BeNumerically("<=", 20))
	}, NodeTimeout(15*time.Minute))

	tlsSpecs(w)

	It("clears all nodes before the caches go, but does not wait for ever for one that is cut off", func(ctx context.Context) {
		lost, other := w.workers(ctx)
		watched := w.watch(ctx, w.one)
		cut(ctx, lost, true)
		Expect(env.Client.Delete(ctx, w.cluster.RegistryCache())).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, w.key(), &v1alpha1.RegistryCache{}))
		}).WithTimeout(4 * time.Minute).Should(BeTrue())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(time.Minute).
			Should(HaveEach(HavePrefix("Pod ")), "only what the lost node would have to end, once the garbage collector has looked")
		Expect(w.leftBehind(ctx)).To(ContainElement(ContainSubstring(lost.Name)))
		watched.expectForgottenFirst(lost.Name)
		for _, n := range []stack.Node{w.nodes(ctx)[0], other} {
			Expect(n.Exec(ctx, "sh", "-c", ourFiles)).To(BeEmpty(), n.Name)
		}

		By("the node is back")
		w.eventuallyConfigured(ctx, []stack.Node{lost}, w.one, false, time.Now().Add(withdrawal))
		cut(ctx, lost, false)
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(2 * time.Minute).Should(BeEmpty())
		_, err := lost.Exec(ctx, "touch", "-d", "2 hours ago", "/etc/capi-registry-cache/managed.sh", "/run/capi-registry-cache/answered")
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, func() (string, error) { return lost.Exec(ctx, "sh", "-c", ourFiles) }).WithTimeout(time.Minute).Should(BeEmpty())
	}, NodeTimeout(12*time.Minute))

	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))
})

// spent is CPU since the start in seconds, and memory in MiB: what is resident, and what of it is no page of a file. Those of the program
// are shared, and dropped when memory is short.
type spent struct{ cpu, resident, anonymous float64 }

// used asks the kernel for node-sync, and for the unit's shell with all programs that it has waited for. It needs neither control
// groups, of which hosts have two versions, nor the kubelet, which sees none inside a container.
func used(ctx context.Context, n stack.Node) (nodeSync, unit spent) {
	GinkgoHelper()
	out, err := n.Exec(ctx, "sh", "-c", `
		for pid in $(pgrep -o -f '[n]ode-sync .*--root') $(systemctl show -p MainPID --value `+stack.NodeUnit+`); do
			sed 's/.*) //' "/proc/$pid/stat" | awk -v hertz="$(getconf CLK_TCK)" '{ printf "%.2f ", ($12 + $13 + $14 + $15) / hertz }'
			awk '$1 == "VmRSS:" { resident = $2 } $1 == "RssAnon:" { anonymous = $2 } END { printf "%.2f %.2f ", resident / 1024, anonymous / 1024 }' "/proc/$pid/status"
		done`)
	Expect(err).NotTo(HaveOccurred())
	_, err = fmt.Sscan(out, &nodeSync.cpu, &nodeSync.resident, &nodeSync.anonymous, &unit.cpu, &unit.resident, &unit.anonymous)
	Expect(err).NotTo(HaveOccurred(), out)
	return nodeSync, unit
}

func (w *world) requests(ctx context.Context, cache stack.Cache, n stack.Node) int {
	GinkgoHelper()
	count, err := cache.Requests(ctx, n)
	Expect(err).NotTo(HaveOccurred())
	Expect(count).To(BeNumerically(">", 0))
	return count
}

// cut cuts a node off from everything but itself, or connects it again.
func cut(ctx context.Context, n stack.Node, off bool) {
	GinkgoHelper()
	action := "-D"
	if off {
		action = "-I"
	}
	for _, rule := range [][]string{{"INPUT", "-i", "eth0"}, {"OUTPUT", "-o", "eth0"}, {"FORWARD", "-i", "eth0"}, {"FORWARD", "-o", "eth0"}} {
		_, err := n.Exec(ctx, slices.Concat([]string{"iptables", "-w", action}, rule, []string{"-j", "DROP"})...)
		Expect(err).NotTo(HaveOccurred())
	}
}

// ensureConfigured sees to it that the cluster has its RegistryCache and that all nodes do what it says, for specs that may run alone.
func (w *world) ensureConfigured(ctx context.Context) {
	GinkgoHelper()
	Expect(client.IgnoreAlreadyExists(env.Client.Create(ctx, w.cluster.RegistryCache(w.one)))).To(Succeed())
	w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
}

func (w *world) update(ctx context.Context, change func(*v1alpha1.RegistryCache)) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		rc := &v1alpha1.RegistryCache{}
		if err := env.Client.Get(ctx, w.key(), rc); err != nil {
			return err
		}
		change(rc)
		return env.Client.Update(ctx, rc)
	}).WithTimeout(time.Minute).Should(Succeed())
}

// eventuallyNodes waits for the condition NodesConfigured, with all nodes counted if it is true.
func (w *world) eventuallyNodes(ctx context.Context, status metav1.ConditionStatus, message string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		rc := &v1alpha1.RegistryCache{}
		g.Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
		condition := apimeta.FindStatusCondition(rc.Status.Conditions, v1alpha1.NodesConfiguredCondition)
		g.Expect(condition).NotTo(BeNil())
		g.Expect(condition.ObservedGeneration).To(Equal(rc.Generation))
		g.Expect(condition.Status).To(Equal(status), condition.Message)
		g.Expect(condition.Message).To(ContainSubstring(message))
		if status == metav1.ConditionTrue {
			g.Expect(rc.Status.Nodes.Total).To(HaveValue(BeEquivalentTo(3)))
			g.Expect(rc.Status.Nodes.Configured).To(HaveValue(BeEquivalentTo(3)))
		}
	}).WithTimeout(comeback).Should(Succeed())
}

func (w *world) eventuallyAnswers(ctx context.Context, u *stack.Upstream) {
	GinkgoHelper()
	node := w.nodes(ctx)[0]
	Eventually(ctx, func(g Gomega) {
		rc := &v1alpha1.RegistryCache{}
		g.Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
		i := slices.IndexFunc(rc.Status.Caches, func(s v1alpha1.CacheStatus) bool { return s.Upstream == u.Host() })
		g.Expect(i).To(BeNumerically(">=", 0))
		g.Expect(answers(ctx, node, rc.Status.Caches[i].Endpoint)).To(BeTrue())
	}).WithTimeout(comeback).Should(Succeed())
}

func (w *world) eventuallyGone(ctx context.Context, u *stack.Upstream) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		services := &corev1.ServiceList{}
		g.Expect(w.cluster.Client.List(ctx, services, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
		for _, s := range services.Items {
			g.Expect(s.Annotations[v1alpha1.UpstreamAnnotation]).NotTo(Equal(u.Host()))
		}
	}).WithTimeout(comeback).Should(Succeed())
}

func (w *world) deleteNodeSync(ctx context.Context) {
	GinkgoHelper()
	Expect(w.cluster.Client.Delete(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: cacheNamespace, Name: nodeSync}})).To(Succeed())
}

// expectNoTimeouts holds that no node asked a Service that did not answer.
func (w *world) expectNoTimeouts(ctx context.Context) {
	GinkgoHelper()
	for _, n := range w.nodes(ctx) {
		entries, err := n.Journal(ctx, "containerd.service", w.began)
		Expect(err).NotTo(HaveOccurred())
		for _, e := range entries {
			Expect(e.Message).NotTo(ContainSubstring("i/o timeout"), n.Name)
		}
	}
}

// leftBehind are the Events that tell of nodes that were not waited for any longer.
func (w *world) leftBehind(ctx context.Context) []string {
	GinkgoHelper()
	list := &eventsv1.EventList{}
	Expect(env.Client.List(ctx, list, client.InNamespace(w.cluster.Name))).To(Succeed())
	var notes []string
	for _, e := range list.Items {
		if e.Reason == "NodesLeftBehind" {
			notes = append(notes, e.Note)
		}
	}
	return notes
}

// sighting is when each node was last seen to name a cache, and when its Service went.
type sighting struct {
	mu     sync.Mutex
	last   map[string]time.Time
	gone   time.Time
	stop   context.CancelFunc
	ending sync.WaitGroup
}

// watch looks at both sides: at the nodes every 50 ms, at the API server as things happen.
func (w *world) watch(ctx context.Context, u *stack.Upstream) *sighting {
	GinkgoHelper()
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &sighting{last: map[string]time.Time{}, stop: stop}
	config := rest.CopyConfig(w.cluster.Config)
	config.Timeout = 0 // it would end the watch
	live, err := client.NewWithWatch(config, client.Options{Scheme: w.cluster.Client.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	services, err := live.Watch(watching, &corev1.ServiceList{}, client.InNamespace(cacheNamespace))
	Expect(err).NotTo(HaveOccurred())
	name := w.status(ctx, u).ServiceName
	go func() {
		for event := range services.ResultChan() {
			if service, ok := event.Object.(*corev1.Service); ok && service.Name == name && event.Type == watch.Deleted {
				s.mu.Lock()
				if s.gone.IsZero() {
					s.gone = time.Now()
				}
				s.mu.Unlock()
			}
		}
	}()
	for _, n := range w.nodes(ctx) {
		s.ending.Go(func() { s.follow(watching, n, stack.HostsFile(u.Host())) })
	}
	DeferCleanup(stop)
	return s
}

// follow lets the node itself look, until the Service has gone or nobody watches any more.
func (s *sighting) follow(ctx context.Context, n stack.Node, file string) {
	for ctx.Err() == nil {
		s.mu.Lock()
		gone := !s.gone.IsZero()
		s.mu.Unlock()
		if gone {
			return
		}
		seen, err := n.Exec(ctx, "sh", "-c", `i=0; while [ $i -lt 40 ]; do [ ! -e "$0" ] || l=$(date +%s.%N); i=$((i+1)); sleep 0.05; done; echo "${l:-}"`, file)
		var seconds float64
		if _, scanned := fmt.Sscanf(strings.TrimSpace(seen), "%f", &seconds); err != nil || scanned != nil {
			continue
		}
		s.mu.Lock()
		s.last[n.Name] = time.UnixMicro(int64(seconds * 1e6))
		s.mu.Unlock()
	}
}

// expectForgottenFirst wants no node to have named the Service after it went, but for those that were cut off.
func (s *sighting) expectForgottenFirst(but ...string) {
	GinkgoHelper()
	Eventually(func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gone
	}).WithTimeout(10*time.Second).ShouldNot(BeZero(), "the Service never went")
	s.ending.Wait()
	s.stop()
	for node, last := range s.last {
		if !slices.Contains(but, node) {
			Expect(last).To(BeTemporally("<", s.gone), node)
			AddReportEntry("forgotten before the Service went", fmt.Sprintf("%s: %.1fs", node, s.gone.Sub(last).Seconds()))
		}
	}
}

// unitsLoaded is when systemd has read its unit files on each node.
func (w *world) unitsLoaded(ctx context.Context) []string {
	GinkgoHelper()
	var times []string
	for _, n := range w.nodes(ctx) {
		at, err := n.Exec(ctx, "systemctl", "show", "--property", "UnitsLoadStartTimestampMonotonic")
		Expect(err).NotTo(HaveOccurred())
		times = append(times, at)
	}
	return times
}
