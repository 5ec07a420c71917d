//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
)

// The control plane and one worker boot from Ignition, another worker is in a MachinePool.
var _ = Describe("A cluster with Ignition and with a MachinePool", Ordered, ContinueOnFailure, func() {
	w := &world{}

	BeforeAll(func(ctx context.Context) {
		cluster := env.Cluster("ignition", 1)
		cluster.Format, cluster.Pooled = bootstrapv1.Ignition, 1
		w.create(ctx, cluster)
	}, NodeTimeout(15*time.Minute))
	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))

	Context("from the first boot", func() { bootSpecs(w) })
	Context("when images are pulled", func() { pullSpecs(w) })
})
