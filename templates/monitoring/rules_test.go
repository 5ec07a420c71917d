package monitoring_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/templates/monitoring"
)

// root is the repository, seen from here; folder is what make generate writes to.
const (
	root   = "../.."
	folder = root + "/config/monitoring"
)

// promtool runs Debian's promtool; what it says is in the failure.
func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "promtool", arguments...).CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "promtool is in Debian's package prometheus, which test/kubernetes/install-packages.sh installs: %s", said)
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(folder, "rules.yaml"))
}

func TestAlertsFireAndStaySilent(t *testing.T) {
	for _, file := range ruleTests(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", file)
		})
	}
}

func TestEachAlertHasAFiringAndASilentCase(t *testing.T) {
	g := NewWithT(t)
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, file := range ruleTests(t) {
		content, err := os.ReadFile(filepath.Clean(file))
		g.Expect(err).NotTo(HaveOccurred())
		tests := struct {
			Tests []struct {
				Alerts []struct {
					Name     string `yaml:"alertname"`
					Expected []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			} `yaml:"tests"`
		}{}
		g.Expect(yaml.Unmarshal(content, &tests)).To(Succeed())
		for _, test := range tests.Tests {
			for _, alert := range test.Alerts {
				firing[alert.Name] = firing[alert.Name] || len(alert.Expected) > 0
				silent[alert.Name] = silent[alert.Name] || len(alert.Expected) == 0
			}
		}
	}
	for _, rule := range alerts(t) {
		g.Expect(firing).To(HaveKeyWithValue(rule.Alert, true), "a case in which it fires")
		g.Expect(silent).To(HaveKeyWithValue(rule.Alert, true), "a case in which it does not")
	}
}

func TestAlertsSayWhatTheyAreAbout(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range alerts(t) {
		t.Run(rule.Alert, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(rule.Alert).To(HavePrefix("RegistryCache"))
			g.Expect(seen).NotTo(HaveKey(rule.Alert))
			seen[rule.Alert] = true
			g.Expect(rule.Labels).To(HaveKeyWithValue("severity", BeElementOf(monitoring.Critical, monitoring.Warning, monitoring.Info)))
			g.Expect(rule.Annotations["summary"]).To(MatchRegexp(`^[A-Z][^{}]*\.$`))
			g.Expect(rule.Annotations["description"]).To(HaveSuffix("."))
			page, ours := strings.CutPrefix(rule.Annotations["runbook_url"], "https://github.com/capi-registry-cache/capi-registry-cache/blob/main/")
			g.Expect(ours).To(BeTrue())
			g.Expect(filepath.Join(root, page)).To(BeARegularFile())
		})
	}
}

func TestEachRunbookHasAnAlert(t *testing.T) {
	g := NewWithT(t)
	var pages, names []string
	entries, err := os.ReadDir(filepath.Join(root, "docs", "runbooks"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		pages = append(pages, strings.TrimSuffix(entry.Name(), ".md"))
	}
	overview, err := os.ReadFile(filepath.Join(root, "docs", "alerts.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, rule := range alerts(t) {
		names = append(names, rule.Alert)
		row := "| [" + rule.Alert + "](runbooks/" + rule.Alert + ".md) | " + rule.Labels["severity"] + " |"
		g.Expect(string(overview)).To(ContainSubstring(row), "docs/alerts.md lists all alerts")
	}
	g.Expect(pages).To(ConsistOf(names))
}

func TestTheOperatorGetsTheSameRules(t *testing.T) {
	g := NewWithT(t)
	var groups []monitoring.Group
	for _, object := range monitoring.PrometheusRules() {
		g.Expect(object.APIVersion + " " + object.Kind).To(Equal("monitoring.coreos.com/v1 PrometheusRule"))
		g.Expect(object.Metadata.Name).NotTo(BeEmpty())
		groups = append(groups, object.Spec.Groups...)
	}
	g.Expect(groups).To(Equal(monitoring.Rules().Groups))
}

// TestRulesAskForMetricsThatExist guards against an alert that can never fire because of a name.
func TestRulesAskForMetricsThatExist(t *testing.T) {
	known := metrics(t)
	for _, rule := range alerts(t) {
		names := metricsIn(rule.Expr)
		NewWithT(t).Expect(names).NotTo(BeEmpty(), rule.Alert)
		for _, name := range names {
			if !known[name] && !slices.Contains(ofOthers, name) {
				t.Errorf("%s: there is no metric %s in docs/metrics.md", rule.Alert, name)
			}
		}
	}
}

func TestMetricsAreFoundInExpressions(t *testing.T) {
	g := NewWithT(t)
	g.Expect(metricsIn(`sum by (cluster, le) (rate(a_bucket{type="x",b=~"c|d"}[5m] offset 1h)) / on (pod) group_left (upstream) b > 2e3 and c_d unless time() - 4`)).
		To(Equal([]string{"a_bucket", "b", "c_d"}))
}

// ofOthers are metrics of Prometheus, its client library, kubelet and controller-runtime.
var ofOthers = []string{
	"up", "process_start_time_seconds", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes", "controller_runtime_active_workers",
}

var (
	noMetrics  = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left|group_right) \([^)]*\)|\boffset \w+|\b[0-9][0-9a-z.]*`)
	call       = regexp.MustCompile(`\b[a-z_]+ ?\(`)
	identifier = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\b`)
	operators  = []string{"and", "or", "unless", "bool", "sum", "min", "max", "avg", "count", "group"}
)

// metricsIn are the names of metrics in an expression of PromQL.
func metricsIn(expression string) []string {
	rest := call.ReplaceAllStringFunc(noMetrics.ReplaceAllString(expression, " "), func(found string) string {
		if name := strings.TrimRight(found, " ("); slices.Contains([]string{"and", "or", "unless"}, name) {
			return " "
		}
		return "("
	})
	var names []string
	for _, name := range identifier.FindAllString(rest, -1) {
		if !slices.Contains(operators, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func alerts(t *testing.T) []monitoring.Rule {
	t.Helper()
	var all []monitoring.Rule
	for _, group := range monitoring.Rules().Groups {
		all = append(all, group.Rules...)
	}
	NewWithT(t).Expect(len(all)).To(BeNumerically(">", 10))
	return all
}

func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "tests", "*.yaml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(files).NotTo(BeEmpty())
	return files
}
