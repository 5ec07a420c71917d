package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	metricsdoc "github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/test/promtool"
	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/metrics"
)

// scrape is what Prometheus gets, by metric and labels.
func (n *node) scrape() map[string]float64 {
	w := httptest.NewRecorder()
	n.syncer.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	n.Expect(w.Code).To(Equal(http.StatusOK))
	n.Expect(w.Header().Get("Content-Type")).To(Equal(string(expfmt.NewFormat(expfmt.TypeTextPlain))[:len("text/plain; version=0.0.4; charset=utf-8")]))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(w.Body.String()))
	n.Expect(err).NotTo(HaveOccurred())
	series := map[string]float64{}
	for name, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			series[strings.TrimPrefix(name, "registry_cache_node_")+" "+strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return series
}

func TestMetrics_tell_state_reason_and_whether_the_node_is_in_sync(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io", "quay.io"), false)
	n.Expect(n.scrape()).To(Equal(map[string]float64{"synced ": 0, "reason  pending": 1}))
	n.round()
	n.says("generation " + n.syncer.state.Generation + "\ndocker.io active\nghcr.io static\nquay.io waiting cache http://a does not answer\n" +
		"x.example unsupported curl was not found\ny.example:5000 conflict /etc/x\"\\ is not ours\n")
	got := n.scrape()
	n.Expect(got).To(HaveLen(5*5 + 3 + 5 + 1))
	for series, value := range map[string]float64{
		"synced ": 1, "upstream_state docker.io active": 1, "upstream_state docker.io waiting": 0, "upstream_state ghcr.io static": 1,
		"upstream_state quay.io waiting": 1, "upstream_state x.example unsupported": 1, "upstream_state y.example:5000 conflict": 1,
		"reason quay.io cache_not_answering": 1, "reason x.example curl_not_found": 1, "reason y.example:5000 foreign_file": 1,
		"withdrawals_total docker.io": 0,
	} {
		n.Expect(got).To(HaveKeyWithValue(series, value))
	}
}

func TestMetrics_count_what_stops_being_active(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io", "quay.io"), false)
	counts := func() map[string]float64 {
		found := map[string]float64{}
		for series, value := range n.scrape() {
			if upstream, ok := strings.CutPrefix(series, "withdrawals_total "); ok {
				found[upstream] = value
			}
		}
		return found
	}
	for _, step := range []struct {
		state string
		want  map[string]float64
	}{
		{"docker.io waiting cache a does not answer\n", map[string]float64{"docker.io": 0}},
		{"docker.io active\nquay.io active\n", map[string]float64{"docker.io": 0, "quay.io": 0}},
		{"docker.io waiting cache a does not answer\nquay.io active\n", map[string]float64{"docker.io": 1, "quay.io": 0}},
		{"docker.io active\nquay.io active\n", map[string]float64{"docker.io": 1, "quay.io": 0}},
		{"", map[string]float64{"docker.io": 2, "quay.io": 1}}, // the unit was stopped
		{"docker.io active\nquay.io active\n", map[string]float64{"docker.io": 2, "quay.io": 1}},
		{"docker.io active\n", map[string]float64{"docker.io": 2}}, // quay.io was taken out of the spec
	} {
		n.says(step.state)
		n.Expect(counts()).To(Equal(step.want), "after %q", step.state)
		n.Expect(counts()).To(Equal(step.want), "a second look counts nothing")
	}
}

func TestMetrics_tell_what_concerns_the_whole_node(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.systemd.err = os.ErrPermission
	n.round()
	n.Expect(n.scrape()).To(HaveKeyWithValue("reason  no_systemd", 1.0))
	n.want(t, files()[:2], true)
	n.Expect(n.scrape()).To(Equal(map[string]float64{"synced ": 0, "reason  pending": 1}))
}

func TestMetrics_are_as_Prometheus_wants_them(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.says("docker.io waiting cache a does not answer\n")
	w := httptest.NewRecorder()
	n.syncer.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	n.Expect(metricsdoc.Compare("../..", metricsdoc.NodeSync, w.Body.Bytes())).To(BeEmpty(), "all are looked at")
	n.Expect(promtool.CheckMetrics(t.Context(), w.Body.Bytes())).To(Succeed())
}

// TestReasonCodes_cover_what_the_unit_says holds the texts of the script and the codes together, in both directions.
func TestReasonCodes_cover_what_the_unit_says(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("../../bootstrap/payload/configure-containerd-registries.sh")
	g.Expect(err).NotTo(HaveOccurred())
	script := string(content)
	codes := map[string]bool{reasonOther: true}
	for _, r := range reasonCodes {
		codes[r.code] = true
		g.Expect(script).To(ContainSubstring(r.text), "the script does not say it any more")
	}
	messages := regexp.MustCompile(`(?:\bunsupported |\brecord \w+ |\bwhy=)(?:"([^"\n]+)"|'([^'\n]+)')`).FindAllStringSubmatch(script, -1)
	for _, function := range []string{"hindrance", "shadowed"} {
		_, body, found := strings.Cut(script, "\n"+function+"() {\n")
		g.Expect(found).To(BeTrue(), function)
		body, _, _ = strings.Cut(body, "\n}\n")
		messages = append(messages, regexp.MustCompile(`log (?:"([^"]+)"|'([^']+)')`).FindAllStringSubmatch(body, -1)...)
	}
	variable := regexp.MustCompile(`^\$\w+$`) // not a text, but printed for another command
	messages = slices.DeleteFunc(messages, func(m []string) bool { return variable.MatchString(m[1]) })
	g.Expect(len(messages)).To(BeNumerically(">=", len(reasonCodes)))
	for _, m := range messages {
		g.Expect(reasonCode(m[1]+m[2])).NotTo(Equal(reasonOther), "%s", m[0])
	}
	g.Expect(reasonCode("something new")).To(Equal(reasonOther))
	g.Expect(slices.Collect(maps.Keys(codes))).To(ConsistOf(metrics.UpstreamReasons), "those that are documented")
	g.Expect(slices.Collect(maps.Values(nodeReasons))).To(ConsistOf(metrics.NodeReasons))
	g.Expect(metrics.States).To(ContainElements(stateActive, stateStatic, stateWaiting, stateConflict, stateUnsupported))
}
