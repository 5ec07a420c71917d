//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

func pullSpecs(w *world) {
	It("asks the upstream for no blob that another node has pulled", func(ctx context.Context) {
		first, second := w.workers(ctx)
		image := push(ctx, w.one, "pull/shared")
		since := time.Now()
		Expect(w.cluster.RunPod(ctx, stack.FixturePod("shared-1", first.Name, image.Ref()))).To(Succeed())
		Expect(blobs(ctx, w.one, since, image.Repository)).NotTo(BeEmpty(), "the first pull fills the cache")

		since = time.Now()
		Expect(w.cluster.RunPod(ctx, stack.FixturePod("shared-2", second.Name, image.Ref()))).To(Succeed())
		Expect(blobs(ctx, w.one, since, image.Repository)).To(BeEmpty())
	}, NodeTimeout(5*time.Minute))

	It("starts a Pod on a node that lacks the image while the upstream is stopped", func(ctx context.Context) {
		first, second := w.workers(ctx)
		image := push(ctx, w.two, "pull/outage")
		Expect(w.cluster.RunPod(ctx, stack.FixturePod("outage-1", first.Name, image.Ref()))).To(Succeed())

		Expect(w.two.Stop(ctx)).To(Succeed())
		DeferCleanup(w.two.Start)
		_, err := env.Pull(ctx, second, image.DirectRef())
		Expect(err).To(HaveOccurred(), "the upstream itself must not answer")
		Expect(w.cluster.RunPod(ctx, stack.FixturePod("outage-2", second.Name, image.Ref()))).To(Succeed())
	}, NodeTimeout(5*time.Minute))
}
