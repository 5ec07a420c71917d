package monitoring_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

func dashboardJSON(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, dashboard.File))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return content
}

// panels are those of the dashboard that have queries.
func panels(t *testing.T) []dashboard.Panel {
	t.Helper()
	all, err := dashboard.Read(dashboardJSON(t))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var asking []dashboard.Panel
	for _, p := range all {
		if p.Type != dashboard.Row {
			asking = append(asking, p)
		}
	}
	NewWithT(t).Expect(len(asking)).To(BeNumerically(">", 20))
	return asking
}

// validate checks a dashboard by the schema that Grafana publishes: its foundation SDK is generated from it, with parsers that refuse what the
// schema does not have, and what it demands and is missing, in the dashboard, in panels of each kind and in queries of Prometheus.
func validate(content []byte) error {
	plugins.RegisterDefaultPlugins()
	made := grafana.Dashboard{}
	if err := made.UnmarshalJSONStrict(content); err != nil {
		return err
	}
	return made.Validate()
}

func TestDashboardIsOfGrafanasSchema(t *testing.T) {
	NewWithT(t).Expect(validate(dashboardJSON(t))).To(Succeed())
}

func TestGrafanasSchemaRefusesOtherDashboards(t *testing.T) {
	for what, change := range map[string][2]string{
		"a field that does not exist":            {`"title": "Registry Caches"`, `"title": "Registry Caches", "titel": ""`},
		"a field of a panel that does not exist": {`"title": "Bytes"`, `"title": "Bytes", "hight": 8`},
		"an option of a panel":                   {`"showLegend": true`, `"showLegend": true, "placment": "top"`},
		"a wrong type in the grid":               {`"h": 8`, `"h": "8"`},
		"a panel that is too wide":               {`"w": 12`, `"w": 25`},
		"a field of a query":                     {`"legendFormat": "served"`, `"legend": "served"`},
		"an unknown way to sort":                 {`"sort": "desc"`, `"sort": 1`},
		"a variable that is missing":             {`"templating": {`, `"variables": {`},
	} {
		t.Run(what, func(t *testing.T) {
			g := NewWithT(t)
			content := string(dashboardJSON(t))
			g.Expect(content).To(ContainSubstring(change[0]))
			g.Expect(validate([]byte(strings.Replace(content, change[0], change[1], 1)))).NotTo(Succeed())
		})
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	known := metrics(t)
	for _, p := range panels(t) {
		for _, q := range p.Queries {
			names := metricsIn(q.Expr)
			NewWithT(t).Expect(names).NotTo(BeEmpty(), p.Title)
			for _, name := range names {
				if !known[name] {
					t.Errorf("%s: there is no metric %s in docs/metrics.md", p.Title, name)
				}
			}
		}
	}
}

func TestDashboardShowsWhatAReaderHasChosen(t *testing.T) {
	for _, p := range panels(t) {
		for _, q := range p.Queries {
			g := NewWithT(t)
			switch {
			case strings.Contains(q.Expr, "capi_registry_cache_injections_total"), strings.Contains(q.Expr, "capi_registry_cache_reconcile_phase_"):
				// of the manager as a whole
			case strings.Contains(q.Expr, "capi_registry_cache_"):
				g.Expect(q.Expr).To(ContainSubstring(`name=~"$cluster"`), p.Title)
			default:
				g.Expect(strings.Count(q.Expr, `{cluster=~"$cluster",namespace=~"$namespace",upstream=~"$upstream`)).
					To(Equal(strings.Count(q.Expr, "{")), p.Title+": "+q.Expr)
			}
		}
	}
}

func TestDashboardsPanelsDoNotOverlap(t *testing.T) {
	g := NewWithT(t)
	all, err := dashboard.Read(dashboardJSON(t))
	g.Expect(err).NotTo(HaveOccurred())
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range all {
		g.Expect(ids).NotTo(HaveKey(p.ID), p.Title)
		ids[p.ID] = true
		g.Expect(p.Grid.X+p.Grid.Width).To(BeNumerically("<=", 24), p.Title)
		for x := p.Grid.X; x < p.Grid.X+p.Grid.Width; x++ {
			for y := p.Grid.Y; y < p.Grid.Y+p.Grid.Height; y++ {
				g.Expect(taken).NotTo(HaveKey([2]int{x, y}), "%s is where %s is", p.Title, taken[[2]int{x, y}])
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// filled are the expressions of a panel, with values in place of variables.
func filled(t *testing.T, p dashboard.Panel, v dashboard.Variables) []string {
	t.Helper()
	var all []string
	for _, q := range p.Queries {
		expr, err := v.Fill(q.Expr)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), p.Title)
		all = append(all, expr)
	}
	return all
}

func TestPromtoolAcceptsTheDashboardsQueries(t *testing.T) {
	g := NewWithT(t)
	var rules []map[string]string
	for _, p := range panels(t) {
		for i, expr := range filled(t, p, dashboard.All("6h", "5m")) {
			rules = append(rules, map[string]string{"record": fmt.Sprintf("panel_%d_%d", p.ID, i), "expr": expr})
		}
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(t.TempDir(), "rules.yaml")
	g.Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	promtool(t, "check", "rules", file)
}
