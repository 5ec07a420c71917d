//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

// One cluster for all specs of the main path: each group goes on where the one before stopped.
var _ = Describe("A cluster with registry caches", Ordered, ContinueOnFailure, func() {
	w := &world{}
	prometheus := func() dashboard.Prometheus { return w.prometheus }

	BeforeAll(func(ctx context.Context) { w.create(ctx, env.Cluster("main", 2)) }, NodeTimeout(15*time.Minute))

	AfterAll(w.stopPrometheus, NodeTimeout(time.Minute))

	Context("from the first boot", func() { bootSpecs(w) })
	Context("when images are pulled", func() { pullSpecs(w) })
	Context("when Prometheus scrapes them", func() { metricsSpecs(w) })
	Context("when the dashboard looks at them", Label("slow", "observe"), func() { dashboardSpecs(w, prometheus) })
	Context("when a cache goes", func() { outageSpecs(w) })
	Context("when Prometheus has seen a cache go", func() { metricsOfOutageSpecs(w) })
	Context("when the dashboard has seen it", Label("slow", "observe"), func() { keepDashboard(w, prometheus) })
	Context("when Machines and caches change", func() { rolloutSpecs(w) })
	Context("when caches and clusters are deleted", func() { removalSpecs(w) })
})
