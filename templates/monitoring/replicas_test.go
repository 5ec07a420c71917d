package monitoring_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

// The types of a test of promtool (https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules).
type (
	unitTests struct {
		Tests []unitTest `yaml:"tests"`
	}
	unitTest struct {
		Interval string       `yaml:"interval"`
		Series   []testSeries `yaml:"input_series"`
		Exprs    []exprTest   `yaml:"promql_expr_test"`
	}
	testSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	exprTest struct {
		Expr    string   `yaml:"expr"`
		Time    string   `yaml:"eval_time"`
		Samples []sample `yaml:"exp_samples"`
	}
	sample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
)

// replica is a series of a Pod of the cache of docker.io.
func replica(pod int, name, labels, values string) testSeries {
	return testSeries{
		Series: fmt.Sprintf(`%s{cluster="one",namespace="kube-system",pod="registry-docker-io-%d",upstream="docker.io",%s}`, name, pod, labels),
		Values: values,
	}
}

// twoReplicas are 90 minutes of a cache whose first Pod has everything and whose second one has nothing: of 200 requests a minute 100 are hits,
// 50 share a transfer, and 50 are fetched. 2000 bytes a minute are served, 500 fetched. Another registry is none of ours.
func twoReplicas() []testSeries {
	return []testSeries{
		replica(0, "registry_proxy_requests_total", `type="blob"`, "0+100x90"),
		replica(0, "registry_proxy_hits_total", `type="blob"`, "0+100x90"),
		replica(0, "registry_proxy_pushed_bytes_total", `type="blob"`, "0+1000x90"),
		replica(0, "registry_proxy_pulled_bytes_total", `type="blob"`, "0x90"),
		replica(0, "registry_cache_stored_bytes", ``, "800x90"),
		replica(0, "registry_cache_capacity_bytes", ``, "1000x90"),
		replica(0, "registry_cache_upstream_breaker_open", ``, "0x90"),
		replica(1, "registry_proxy_requests_total", `type="blob"`, "0+100x90"),
		replica(1, "registry_proxy_hits_total", `type="blob"`, "0x90"),
		replica(1, "registry_cache_coalesced_requests_total", `type="blob"`, "0+50x90"),
		replica(1, "registry_proxy_pushed_bytes_total", `type="blob"`, "0+1000x90"),
		replica(1, "registry_proxy_pulled_bytes_total", `type="blob"`, "0+500x90"),
		replica(1, "registry_cache_stored_bytes", ``, "200x90"),
		replica(1, "registry_cache_capacity_bytes", ``, "1000x90"),
		replica(1, "registry_cache_upstream_breaker_open", ``, "1x90"),
		{Series: `registry_proxy_requests_total{namespace="default",pod="registry-0",type="blob"}`, Values: "0+1000x90"},
		{Series: `registry_proxy_pushed_bytes_total{namespace="default",pod="registry-0",type="blob"}`, Values: "0+1000x90"},
	}
}

// TestDashboardCountsReplicasTogether: what nodes and upstreams see is summed over Pods, volumes are each Pod's.
func TestDashboardCountsReplicasTogether(t *testing.T) {
	const cache, pod = `{cluster="one", upstream="docker.io"}`, `{cluster="one", namespace="kube-system", pod="registry-docker-io-%d"}`
	whole := func(value float64) []sample { return []sample{{Labels: "{}", Value: value}} }
	expected := map[string][][]sample{
		"Hit ratio":                {whole(0.75)},
		"Served to nodes":          {whole(2000 * 60)},
		"Fetched from upstreams":   {whole(500 * 60)},
		"Saved":                    {whole(1500 * 60)},
		"Shared transfers":         {whole(50 * 60)},
		"Hit ratio by cache":       {{{Labels: cache, Value: 0.75}}},
		"Bytes":                    {whole(2000. / 60), whole(500. / 60), whole(1500. / 60)},
		"Requests by answer":       {whole(100. / 60), whole(50. / 60), whole(50. / 60)},
		"Volume used by the store": {{{Labels: fmt.Sprintf(pod, 0), Value: 0.8}, {Labels: fmt.Sprintf(pod, 1), Value: 0.2}}},
	}
	showsAfter80Minutes(t, twoReplicas(), expected)
}

// showsAfter80Minutes holds what queries of panels, by their titles, make of series against what is expected of each.
func showsAfter80Minutes(t *testing.T, series []testSeries, expected map[string][][]sample) {
	t.Helper()
	test := unitTest{Interval: "1m", Series: series}
	all := panels(t)
	for title, samples := range expected {
		i := slices.IndexFunc(all, func(p dashboard.Panel) bool { return p.Title == title })
		NewWithT(t).Expect(i).To(BeNumerically(">=", 0), title)
		for n, expr := range filled(t, all[i], dashboard.All("1h", "5m")) {
			test.Exprs = append(test.Exprs, exprTest{Expr: expr, Time: "80m", Samples: samples[n]})
		}
	}
	promtool(t, "test", "rules", written(t, unitTests{Tests: []unitTest{test}}))
}

// written is a file with a test for promtool.
func written(t *testing.T, tests unitTests) string {
	t.Helper()
	g := NewWithT(t)
	content, err := yaml.Marshal(tests)
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(t.TempDir(), "tests.yaml")
	g.Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	return file
}
