//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// One cluster for all specs of the main path: each group goes on where the one before stopped.
var _ = Describe("A cluster with registry caches", Ordered, ContinueOnFailure, func() {
	w := &world{}

	BeforeAll(func(ctx context.Context) {
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		w.cluster = env.Cluster("main", 2)
		w.began = time.Now()
		clusters = append(clusters, w.cluster)
		watching, stop := context.WithCancel(context.Background())
		DeferCleanup(stop)
		var err error
		w.order, err = record(watching, w.cluster.Name, 2)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.cluster.Create(ctx, w.cluster.RegistryCache(w.one, w.two))).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
	}, NodeTimeout(15*time.Minute))

	Context("from the first boot", func() { bootSpecs(w) })
	Context("when images are pulled", func() { pullSpecs(w) })
	Context("when a cache goes", func() { outageSpecs(w) })
	Context("when Machines and caches change", func() { rolloutSpecs(w) })
	Context("when caches and clusters are deleted", func() { removalSpecs(w) })
})
