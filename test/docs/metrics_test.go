package docs_test

import (
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
)

var (
	ours      = regexp.MustCompile(`\b(?:registry_(?:cache|proxy)_|capi_registry_cache_)[a-z_]+`)
	histogram = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

func TestDocumentationNamesMetricsThatExist(t *testing.T) {
	g := NewWithT(t)
	known := metricNames(g)
	g.Expect(len(known)).To(BeNumerically(">", 20))
	for _, p := range pages(t) {
		for i, l := range strings.Split(p.Text, "\n") {
			for _, name := range ours.FindAllString(l, -1) {
				if !known[name] && !known[histogram.ReplaceAllString(name, "")] {
					t.Errorf("%s: there is no metric %s", p.Where(i+1), name)
				}
			}
		}
	}
}

// metricNames are those of docs/metrics.md, which is made from what is registered.
func metricNames(g *WithT) map[string]bool {
	all, err := metrics.Read(root)
	g.Expect(err).NotTo(HaveOccurred())
	names := map[string]bool{}
	for _, m := range all {
		names[m.Name] = true
	}
	return names
}
