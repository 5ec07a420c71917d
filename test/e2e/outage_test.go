//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// What a dead cache may cost (I3).
const (
	tolerance  = time.Second      // longer than the same pull straight from the upstream
	withdrawal = 15 * time.Second // from the loss of the cache until no hosts.toml names it
	recovery   = 15 * time.Second // from its first answer until hosts.toml names it again

	comeback = 3 * time.Minute // for a new cache to be made; nothing is promised about it
)

func outageSpecs(w *world) {
	It("goes past a cache whose Service is gone, and returns to it at the same address (I3)", func(ctx context.Context) {
		t := w.prepare(ctx, "outage/service")
		address := w.deleteService(ctx)
		w.expectFallback(ctx, t, "Service deleted", time.Now())
		w.expectRecovery(ctx, t.node, address)
	}, NodeTimeout(8*time.Minute))

	It("goes past a cache that is scaled to zero, and returns to it (I3)", func(ctx context.Context) {
		t := w.prepare(ctx, "outage/scaled")
		address := w.address(ctx)
		w.scaleCache(ctx, 0)
		endpoint := w.status(ctx, w.one).Endpoint
		Eventually(ctx, func() bool { return answers(ctx, t.node, endpoint) }).
			WithPolling(100 * time.Millisecond).WithTimeout(time.Minute).Should(BeFalse())
		w.expectFallback(ctx, t, "cache scaled to zero", time.Now())
		w.expectRecovery(ctx, t.node, address)
	}, NodeTimeout(8*time.Minute))

	It("pulls on a node that was rebooted while the cache is gone (I1, I3)", func(ctx context.Context) {
		t := w.prepare(ctx, "outage/reboot")
		w.keepJournal(ctx, t.node)
		address := w.deleteService(ctx)
		down := time.Now()
		Expect(t.node.Restart(ctx)).To(Succeed())
		Eventually(ctx, func() error {
			_, err := t.node.Exec(ctx, "ctr", "version")
			return err
		}).WithTimeout(time.Minute).Should(Succeed())
		booted := time.Now()
		Expect(pull(ctx, t.node, t.image.Ref())).To(BeNumerically("<=", t.direct+tolerance))
		w.eventuallyConfigured(ctx, []stack.Node{t.node}, w.one, false, booted.Add(withdrawal))
		w.outages = append(w.outages, outage{what: "node rebooted", from: down, to: time.Now()})
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		w.expectRecovery(ctx, t.node, address)
	}, NodeTimeout(10*time.Minute))

	It("leaves no time-out in any containerd journal, but for the moments before hosts.toml was withdrawn (I3)", func(ctx context.Context) {
		for _, n := range w.nodes(ctx) {
			w.keepJournal(ctx, n)
		}
		outside := []string{}
		for _, line := range w.timeouts {
			text := fmt.Sprintf("%s %s %s", line.Time.Format(time.TimeOnly), line.node, line.Message)
			if during := w.during(line.Time); during != "" {
				AddReportEntry("i/o timeout while hosts.toml named a lost cache: "+during, text)
			} else {
				outside = append(outside, text)
			}
		}
		Expect(outside).To(BeEmpty())
	}, NodeTimeout(2*time.Minute))
}

// trial is a pull that is going to meet a lost cache, and what it would take without one.
type trial struct {
	node   stack.Node
	image  stack.Image
	direct time.Duration
}

// prepare stops the manager, which would mend what the spec breaks, and measures pulls of images of the same shape
// that no cache serves. All layers are absent from the node each time.
func (w *world) prepare(ctx context.Context, repository string) trial {
	GinkgoHelper()
	node, _ := w.workers(ctx)
	w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
	t := trial{node: node, image: push(ctx, w.one, repository)}
	const samples = 2
	for i := range samples {
		t.direct += pull(ctx, node, push(ctx, w.one, fmt.Sprintf("%s-direct-%d", repository, i)).DirectRef()) / samples
	}
	w.stopManager(ctx)
	return t
}

func (w *world) stopManager(ctx context.Context) {
	GinkgoHelper()
	Expect(env.ScaleManager(ctx, 0)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { Expect(env.ScaleManager(ctx, 1)).To(Succeed()) }, NodeTimeout(3*time.Minute))
}

// expectFallback pulls while hosts.toml still names the lost cache, and waits until it is withdrawn.
func (w *world) expectFallback(ctx context.Context, t trial, what string, down time.Time) {
	GinkgoHelper()
	Expect(w.configured(ctx, []stack.Node{t.node}, w.one)).To(HaveLen(1), "hosts.toml was withdrawn before the pull")
	took := pull(ctx, t.node, t.image.Ref())
	Expect(took).To(BeNumerically("<=", t.direct+tolerance))
	w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, false, down.Add(withdrawal))
	AddReportEntry("fallback", fmt.Sprintf("%s: pull %.3fs, direct %.3fs, withdrawn on all nodes after %.1fs",
		what, took.Seconds(), t.direct.Seconds(), time.Since(down).Seconds()))
	w.outages = append(w.outages, outage{what: what, from: down, to: time.Now()})
	Expect(w.configured(ctx, w.nodes(ctx), w.two)).To(HaveLen(len(w.nodes(ctx))), "the other cache is not concerned")
}

// expectRecovery lets the manager mend the cache.
func (w *world) expectRecovery(ctx context.Context, n stack.Node, address string) {
	GinkgoHelper()
	Expect(env.ScaleManager(ctx, 1)).To(Succeed())
	service := w.service(ctx, w.one)
	Eventually(ctx, func() (string, error) {
		err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(service), service)
		return service.Spec.ClusterIP, err
	}).WithTimeout(comeback).Should(Equal(address))
	endpoint := w.status(ctx, w.one).Endpoint
	Expect(endpoint).To(ContainSubstring(address))
	Eventually(ctx, func() bool { return answers(ctx, n, endpoint) }).WithTimeout(comeback).Should(BeTrue())
	answered := time.Now()
	w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, answered.Add(recovery))
	AddReportEntry("recovery", fmt.Sprintf("hosts.toml on all nodes %.1fs after the first answer", time.Since(answered).Seconds()))
}

func (w *world) address(ctx context.Context) string {
	GinkgoHelper()
	service := w.service(ctx, w.one)
	Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(service), service)).To(Succeed())
	return service.Spec.ClusterIP
}

func (w *world) deleteService(ctx context.Context) (address string) {
	GinkgoHelper()
	address = w.address(ctx)
	Expect(w.cluster.Client.Delete(ctx, w.service(ctx, w.one))).To(Succeed())
	return address
}

func (w *world) scaleCache(ctx context.Context, replicas int32) {
	GinkgoHelper()
	set := w.statefulSet(ctx, w.one)
	Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
	before := client.MergeFrom(set.DeepCopy())
	set.Spec.Replicas = &replicas
	Expect(w.cluster.Client.Patch(ctx, set, before)).To(Succeed())
}

// during names the outage that a point in time is part of.
func (w *world) during(at time.Time) string {
	for _, o := range w.outages {
		if at.After(o.from) && at.Before(o.to) {
			return o.what
		}
	}
	return ""
}

// keepJournal keeps the time-outs of a boot: the journal of a node lives in memory.
func (w *world) keepJournal(ctx context.Context, n stack.Node) {
	GinkgoHelper()
	entries, err := n.Journal(ctx, "containerd.service", w.began)
	Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		if strings.Contains(e.Message, "i/o timeout") {
			w.timeouts = append(w.timeouts, containerdLine{node: n.Name, JournalEntry: e})
		}
	}
}
