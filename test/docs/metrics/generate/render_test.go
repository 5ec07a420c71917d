package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
)

var root = filepath.Join("..", "..", "..", "..")

func TestThePageIsThatOfTheMetricsThatAreRegistered(t *testing.T) {
	g := NewWithT(t)
	page, err := render()
	g.Expect(err).NotTo(HaveOccurred())
	written, err := os.ReadFile(filepath.Join(root, metrics.File))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(written)).To(Equal(page), "make generate writes it")
}

func TestThePageHasEachMetricWithItsLabels(t *testing.T) {
	g := NewWithT(t)
	read, err := metrics.Read(root)
	g.Expect(err).NotTo(HaveOccurred())
	caches, err := cacheDescriptions()
	g.Expect(err).NotTo(HaveOccurred())
	manager, err := managerDescriptions()
	g.Expect(err).NotTo(HaveOccurred())
	for program, all := range map[string][]description{metrics.Cache: caches, metrics.Manager: manager, metrics.NodeSync: nodeSyncDescriptions()} {
		documented := metrics.Of(read, program)
		g.Expect(documented).To(HaveLen(len(all)))
		for _, d := range all {
			m := documented[d.name]
			g.Expect(m.Type).To(Equal(d.kind), d.name)
			g.Expect(m.Labels).To(ConsistOf(d.labels), d.name)
		}
	}
}

func TestALabelOfWhichNobodyKnowsTheValuesIsAnError(t *testing.T) {
	g := NewWithT(t)
	p := &page{facts: facts()}
	p.table("x", "", []description{{name: "x_total", kind: "counter", labels: []string{"user"}, samples: 1}})
	g.Expect(p.err).To(MatchError(ContainSubstring("x_total")))
}

func TestDescribeReadsWhatCollectorsSay(t *testing.T) {
	g := NewWithT(t)
	registry := prometheus.NewRegistry()
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a_total", Help: `says "a" {b}`}, []string{"one", "two"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "b_seconds", Help: "B.", Buckets: []float64{1, 2}}, []string{"one"})
	registry.MustRegister(counts, took)
	counts.WithLabelValues("x", "y")
	counts.WithLabelValues("x", "z")
	all, err := describe(registry, counts, took)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).To(Equal([]description{
		{name: "a_total", help: `says "a" {b}`, kind: "counter", labels: []string{"one", "two"}, values: map[string][]string{"one": {"x"}, "two": {"y", "z"}}, samples: 1},
		{name: "b_seconds", help: "B.", kind: "histogram", labels: []string{"one"}, values: map[string][]string{}, samples: 5},
	}))
	g.Expect(registry.Gather()).To(HaveLen(1), "no series of the histogram is left")
}
