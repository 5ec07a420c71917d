//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// apart is a little more than has to be between pulls around a cache for it to be said.
	apart = 35 * time.Second
	// told is how long the manager may take to read reports and Events again.
	told = 5 * time.Minute

	proxyDropIn = "/etc/systemd/system/containerd.service.d/proxy.conf"
)

// inUseSpecs need a cluster in which nobody has pulled through the second cache.
func inUseSpecs(w *world) {
	It("says which node pulls around a cache, and when the cache is used again", Label("slow", "observe"), func(ctx context.Context) {
		w.ensureConfigured(ctx)
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = w.cluster.RegistryCache(w.one, w.two).Spec.Caches })
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.two, true, time.Now().Add(comeback))
		w.eventuallyUsed(ctx, w.two, "")
		Expect(w.inUse(ctx).Status).NotTo(Equal(metav1.ConditionFalse))

		node, _ := w.workers(ctx)
		proxied(ctx, node, true)
		DeferCleanup(func(ctx context.Context) {
			if CurrentSpecReport().Failed() { // else it is gone, and after the last spec the node, too
				proxied(ctx, node, false)
			}
		})
		var image stack.Image
		for i := range 3 {
			image = push(ctx, w.two, fmt.Sprintf("around/image-%d", i))
			Expect(w.cluster.RunPod(ctx, stack.FixturePod(fmt.Sprintf("around-%d", i), node.Name, image.Ref()))).To(Succeed())
			select {
			case <-ctx.Done():
			case <-time.After(apart):
			}
		}
		Expect(node.HasFile(ctx, stack.HostsFile(w.two.Host()))).To(BeTrue(), "as far as the node knows, all is well")
		pulled := time.Now()
		w.eventuallyUsed(ctx, w.two, v1alpha1.CacheBypassed)
		AddReportEntry("bypass noticed", fmt.Sprintf("%.0fs after the last pull", time.Since(pulled).Seconds()))
		told := w.inUse(ctx)
		Expect([]string{string(told.Status), told.Reason}).To(Equal([]string{"False", v1alpha1.CacheBypassedReason}))
		Expect(told.Message).To(And(HavePrefix("cache of "+w.two.Host()+": "), ContainSubstring(image.Ref()+" on "+node.Name), ContainSubstring("it was not asked")))
		expectBroken(w.doctor(ctx), "use", "it was not asked", "NO_PROXY")

		By("the proxy is gone")
		proxied(ctx, node, false)
		image = push(ctx, w.two, "around/through")
		Expect(w.cluster.RunPod(ctx, stack.FixturePod("around-through", node.Name, image.Ref()))).To(Succeed())
		w.eventuallyUsed(ctx, w.two, v1alpha1.CacheInUse)
		told = w.inUse(ctx)
		Expect([]string{string(told.Status), told.Reason}).To(Equal([]string{"True", v1alpha1.CacheInUseReason}), told.Message)
	}, NodeTimeout(18*time.Minute))
}

// eventuallyUsed waits until the status says this of a cache, and the condition, which is written before it, is up to date.
func (w *world) eventuallyUsed(ctx context.Context, u *stack.Upstream, want v1alpha1.CacheUse) {
	GinkgoHelper()
	Eventually(ctx, func() v1alpha1.CacheUse { return w.status(ctx, u).InUse }).WithTimeout(told).Should(Equal(want))
}

func (w *world) inUse(ctx context.Context) metav1.Condition {
	GinkgoHelper()
	rc := &v1alpha1.RegistryCache{}
	Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
	condition := apimeta.FindStatusCondition(rc.Status.Conditions, v1alpha1.CacheInUseCondition)
	Expect(condition).NotTo(BeNil())
	return *condition
}

// proxied lets containerd ask everything but the upstreams by way of a proxy that refuses, or takes the proxy away: the unit, which asks caches without
// any, sees nothing of it.
func proxied(ctx context.Context, n stack.Node, on bool) {
	GinkgoHelper()
	change := `rm -f "$0"`
	if on {
		change = `mkdir -p "${0%/*}" && printf '[Service]\nEnvironment=HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=.test\n' >"$0"`
	}
	_, err := n.Exec(ctx, "sh", "-c", change+` && systemctl daemon-reload && systemctl restart containerd`, proxyDropIn)
	Expect(err).NotTo(HaveOccurred())
}
