//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// dashboardAnswers is where what the dashboard showed is kept; test/dashboard/draw makes the picture in docs from it.
	dashboardAnswers = "../../bin/e2e-logs/dashboard.json"

	// What queries get in place of Grafana's variables, for a Prometheus that scrapes every two seconds.
	dashboardWindow, dashboardRates = "10m", "20s"
	dashboardStep                   = 5 * time.Second
)

// dashboardSpecs ask what the dashboard asks, of a Prometheus that scrapes the cluster since a moment. They may be the first ones.
func dashboardSpecs(w *world, prometheus func() dashboard.Prometheus) {
	BeforeAll(func(ctx context.Context) {
		for _, u := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), u, true, time.Now().Add(2*time.Minute))
		}
		w.startPrometheus(ctx)
	}, NodeTimeout(5*time.Minute))

	It("has an answer to every query of the dashboard", func(ctx context.Context) {
		w.fill(ctx, push(ctx, w.one, "dashboard/one"))
		pull(ctx, w.nodes(ctx)[0], push(ctx, w.two, "dashboard/other").Ref())
		Eventually(ctx, func(g Gomega) { askDashboard(ctx, g, prometheus(), dashboardPanels()) }).WithTimeout(time.Minute).Should(Succeed())
	}, NodeTimeout(5*time.Minute))

	It("has an answer to every query with two replicas, which count together", func(ctx context.Context) {
		w.replicate(ctx, 2)
		DeferCleanup(func(ctx context.Context) { w.replicate(ctx, 1) }, NodeTimeout(3*time.Minute))
		w.fill(ctx, push(ctx, w.one, "dashboard/two"))
		replicas := w.cachePods(ctx, w.one)
		Expect(replicas).To(HaveLen(2))
		panels := dashboardPanels()
		var shown *dashboard.Capture
		Eventually(ctx, func(g Gomega) { // Prometheus finds the second one a moment later
			shown = askDashboard(ctx, g, prometheus(), panels)
			pods := map[string]bool{}
			for _, series := range answerOf(shown, panels, "Volume used by the store").Series {
				pods[string(series.Metric["pod"])] = true
			}
			for _, pod := range replicas {
				g.Expect(pods).To(HaveKey(pod.Name), "each has a volume of its own")
			}
		}).WithTimeout(time.Minute).Should(Succeed())
		ratios := answerOf(shown, panels, "Hit ratio by cache")
		Expect(ratios.Series).To(HaveLen(2), "one for each cache, however many Pods it has")
		for _, series := range ratios.Series {
			for _, at := range series.Values {
				Expect(float64(at.Value)).To(And(BeNumerically(">=", 0), BeNumerically("<=", 1)), "%s at %s", series.Metric, at.Timestamp)
			}
		}
	}, NodeTimeout(8*time.Minute))
}

// keepDashboard keeps what the dashboard has shown since Prometheus began to scrape.
func keepDashboard(w *world, prometheus func() dashboard.Prometheus) {
	It("keeps what the dashboard has shown", func(ctx context.Context) {
		panels := dashboardPanels()
		shown, err := dashboard.Ask(ctx, prometheus(), panels, dashboard.All(dashboardWindow, dashboardRates),
			promv1.Range{Start: w.began, End: time.Now(), Step: dashboardStep})
		Expect(err).NotTo(HaveOccurred())
		Expect(shown.Empty(panels)).To(BeEmpty())
		shown.Trim()
		Expect(shown.Write(dashboardAnswers)).To(Succeed())
		AddReportEntry("what the dashboard has shown", filepath.Base(dashboardAnswers))
	}, NodeTimeout(2*time.Minute))
}

// replicate gives the first cache some replicas, and waits until they are ready.
func (w *world) replicate(ctx context.Context, replicas int32) {
	GinkgoHelper()
	w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].Replicas = &replicas })
	w.eventuallyReady(ctx, w.one, replicas)
}

// askDashboard asks every query, and expects an answer to each.
func askDashboard(ctx context.Context, g Gomega, p dashboard.Prometheus, panels []dashboard.Panel) *dashboard.Capture {
	now := time.Now()
	over := promv1.Range{Start: now.Add(-time.Minute), End: now, Step: dashboardStep}
	shown, err := dashboard.Ask(ctx, p, panels, dashboard.All(dashboardWindow, dashboardRates), over)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(shown.Empty(panels)).To(BeEmpty())
	return shown
}

func dashboardPanels() []dashboard.Panel {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join("..", "..", dashboard.File))
	Expect(err).NotTo(HaveOccurred())
	panels, err := dashboard.Read(content)
	Expect(err).NotTo(HaveOccurred())
	Expect(panels).NotTo(BeEmpty())
	return panels
}

// answerOf is the answer to the first query of a panel.
func answerOf(c *dashboard.Capture, panels []dashboard.Panel, title string) *dashboard.Answer {
	GinkgoHelper()
	i := slices.IndexFunc(panels, func(p dashboard.Panel) bool { return p.Title == title })
	Expect(i).To(BeNumerically(">=", 0), title)
	answer := c.Of(panels[i].ID, panels[i].Queries[0].Ref)
	Expect(answer).NotTo(BeNil(), title)
	return answer
}
