package docs_test

import (
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	_ "github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"   // registers its metrics
	_ "github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics" // registers its metrics
)

var (
	ours      = regexp.MustCompile(`\b(?:registry_(?:cache|proxy)_|capi_registry_cache_)[a-z_]+`)
	fullName  = regexp.MustCompile(`fqName: "([a-z_]+)"`)
	histogram = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

func TestDocumentationNamesMetricsThatExist(t *testing.T) {
	g := NewWithT(t)
	known := metricNames(g)
	g.Expect(len(known)).To(BeNumerically(">", 20))
	told := map[string]bool{}
	for _, p := range pages(t) {
		for i, l := range strings.Split(p.Text, "\n") {
			for _, name := range ours.FindAllString(l, -1) {
				told[name] = true
				if !known[name] && !known[histogram.ReplaceAllString(name, "")] {
					t.Errorf("%s: there is no metric %s", p.Where(i+1), name)
				}
			}
		}
	}
	for name := range known {
		if !told[name] {
			t.Errorf("no page tells of the metric %s", name)
		}
	}
}

// metricNames are those that are registered by the cache and by the manager, and have names of ours.
func metricNames(g *WithT) map[string]bool {
	names := map[string]bool{}
	for _, registerer := range []prometheus.Registerer{prometheus.DefaultRegisterer, ctrlmetrics.Registry} {
		registry, ok := registerer.(prometheus.Collector)
		g.Expect(ok).To(BeTrue())
		descriptions := make(chan *prometheus.Desc)
		go func() {
			registry.Describe(descriptions)
			close(descriptions)
		}()
		for d := range descriptions {
			match := fullName.FindStringSubmatch(d.String())
			if match != nil && ours.MatchString(match[1]) {
				names[match[1]] = true
			}
		}
	}
	return names
}
