//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/common/model"

	metricsdoc "github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// scrapes is how long Prometheus may take to find a target and to ask it twice.
const scrapes = 40 * time.Second

// programs are those whose metrics are documented, by the jobs that scrape them.
var programs = map[string]string{
	"registry-cache": metricsdoc.Cache, "registry-cache-node-sync": metricsdoc.NodeSync, "registry-cache-manager": metricsdoc.Manager,
}

// metricsSpecs start a Prometheus, once images were pulled, and look at what it gets. It goes on to scrape until stopPrometheus.
func metricsSpecs(w *world) {
	It("has targets that Prometheus reaches, as it is told in config/monitoring", func(ctx context.Context) {
		w.startPrometheus(ctx)
	}, NodeTimeout(3*time.Minute))

	It("tells every metric that is documented, and no other", func(ctx context.Context) {
		documented, err := metricsdoc.Read("../..")
		Expect(err).NotTo(HaveOccurred())
		Expect(documented).NotTo(BeEmpty())
		Eventually(ctx, func(g Gomega) {
			found := w.metricsOfOurs(ctx, g)
			for _, m := range documented {
				if !m.Passing() {
					g.Expect(found[m.Program]).To(HaveKey(m.Name), m.Program)
				}
			}
			for program, names := range found {
				known := metricsdoc.Of(documented, program)
				for name := range names {
					g.Expect(known).To(HaveKey(name), "%s tells it, %s does not", program, metricsdoc.File)
				}
			}
		}).WithTimeout(scrapes).Should(Succeed())
	}, NodeTimeout(2*time.Minute))

	It("tells in metrics what nodes and caches are", func(ctx context.Context) {
		nodes := w.nodes(ctx)
		expectValue := func(expr string, want int) {
			GinkgoHelper()
			Eventually(ctx, func(g Gomega) {
				found, err := w.prometheus.Query(ctx, expr)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(found).To(HaveLen(1), expr)
				g.Expect(found[0].Value).To(BeEquivalentTo(want), expr)
			}).WithTimeout(scrapes).Should(Succeed())
		}
		ours := fmt.Sprintf(`namespace="%s",name="%s"`, w.key().Namespace, w.key().Name)
		for _, u := range []*stack.Upstream{w.one, w.two} {
			active := fmt.Sprintf(`registry_cache_node_upstream_state{upstream="%s",state="active"}`, u.Host())
			expectValue("sum("+active+")", len(nodes))
			expectValue("count(count by (node) ("+active+"))", len(nodes))
			expectValue(fmt.Sprintf(`sum(up{job="registry-cache",upstream="%s"})`, u.Host()), len(w.cachePods(ctx, u)))
			expectValue(fmt.Sprintf(`count(capi_registry_cache_certificate_expiry_timestamp_seconds{%s,upstream="%s"} > time())`, ours, u.Host()), 1)
		}
		expectValue("sum(registry_cache_node_synced)", len(nodes))
		expectValue("capi_registry_cache_nodes{"+ours+"}", len(nodes))
		expectValue("capi_registry_cache_nodes_configured{"+ours+"}", len(nodes))
		expectValue("capi_registry_cache_caches{"+ours+`,state="ready"}`, 2)
		expectValue("capi_registry_cache_caches{"+ours+`,state="not_ready"}`, 0)
		expectValue("capi_registry_cache_condition{"+ours+`,type="CachesAvailable",status="True"}`, 1)
		expectValue("count(capi_registry_cache_authority_expiry_timestamp_seconds{"+ours+"} > time())", 1)
	}, NodeTimeout(5*time.Minute))
}

// metricsOfOutageSpecs look back at what Prometheus saw while a cache was gone.
func metricsOfOutageSpecs(w *world) {
	It("told in metrics that nodes withdrew, and why", func(ctx context.Context) {
		Expect(w.prometheus).NotTo(BeNil(), "a spec before started it")
		documented, err := metricsdoc.Read("../..")
		Expect(err).NotTo(HaveOccurred())
		for _, m := range documented {
			if m.Passing() {
				found, err := w.prometheus.Query(ctx, "count(last_over_time("+m.Name+"[2h]))")
				Expect(err).NotTo(HaveOccurred())
				Expect(found).To(HaveLen(1), m.Name)
			}
		}
		for _, expr := range []string{
			`last_over_time(registry_cache_node_reason{reason="cache_not_answering"}[2h])`,
			"max_over_time(registry_cache_node_withdrawals_total[2h]) > 0",
		} {
			found, err := w.prometheus.Query(ctx, expr)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).NotTo(BeEmpty(), expr)
		}
	}, NodeTimeout(time.Minute))
}

// stopPrometheus ends what metricsSpecs started.
// startPrometheus starts it unless that was done, and waits until it reaches nodes, caches and the manager.
func (w *world) startPrometheus(ctx context.Context) {
	GinkgoHelper()
	if w.prometheus == nil {
		var err error
		w.prometheus, err = env.StartPrometheus(ctx, w.cluster)
		Expect(err).NotTo(HaveOccurred())
	}
	want := len(w.nodes(ctx)) + len(w.cachePods(ctx, w.one)) + len(w.cachePods(ctx, w.two)) + 1
	Eventually(ctx, func(g Gomega) {
		down, total, err := w.prometheus.Down(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(down).To(BeEmpty())
		g.Expect(total).To(Equal(want), "nodes, caches and the manager")
	}).WithTimeout(scrapes).Should(Succeed())
}

func (w *world) stopPrometheus(ctx context.Context) {
	if w.prometheus != nil {
		Expect(w.prometheus.Stop(ctx)).To(Succeed())
	}
}

// metricsOfOurs are the names of metrics that are ours, by program. Those of a histogram have one name.
func (w *world) metricsOfOurs(ctx context.Context, g Gomega) map[string]map[string]bool {
	found, err := w.prometheus.Query(ctx, `count by (__name__, job) ({__name__=~"(capi_registry_cache|registry_cache|registry_proxy)_.*"})`)
	g.Expect(err).NotTo(HaveOccurred())
	names := map[string]map[string]bool{}
	for _, sample := range found {
		program := programs[string(sample.Metric["job"])]
		g.Expect(program).NotTo(BeEmpty(), "%s is from another job", sample.Metric)
		if names[program] == nil {
			names[program] = map[string]bool{}
		}
		names[program][family(sample.Metric)] = true
	}
	return names
}

func family(m model.Metric) string {
	name := string(m[model.MetricNameLabel])
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			return cut
		}
	}
	return name
}
