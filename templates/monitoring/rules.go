package monitoring

import (
	"fmt"
	"slices"
	"time"
)

// Severities say how much of what the caches are for is lost. None says that pulls fail: nodes go to the upstream.
const (
	Critical = "critical" // a cache does nothing for its cluster, or soon
	Warning  = "warning"  // something is wrong that does not mend itself
	Info     = "info"     // something could be better
)

// runbooks is where the pages of docs/runbooks can be read.
const runbooks = "https://github.com/capi-registry-cache/capi-registry-cache/blob/main/docs/runbooks/"

// RuleFile is a file of rules as Prometheus reads it (https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules).
type RuleFile struct {
	Groups []Group `yaml:"groups"`
}

// Group is a group of rules that are evaluated together.
type Group struct {
	Name  string `yaml:"name"`
	Rules []Rule `yaml:"rules"`
}

// Rule is an alert. For is a duration of Prometheus.
type Rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// PrometheusRule is the kind of the Prometheus Operator, as far as it is used here.
type PrometheusRule struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
	Spec       RuleFile `yaml:"spec"`
}

// Metadata is what the metadata of a PrometheusRule says here.
type Metadata struct {
	Name   string            `yaml:"name"`
	Labels map[string]string `yaml:"labels"`
}

// alert is one alert as it is written in this package.
type alert struct {
	name, severity string
	// expr is true while there is something to tell; lasts is for how long that has to be so.
	expr  string
	lasts time.Duration
	// summary is a line without values, description one with them, both as templates of Prometheus.
	summary, description string
}

func (a alert) rule() Rule {
	return Rule{
		Alert: a.name, Expr: a.expr, For: prometheusDuration(a.lasts),
		Labels:      map[string]string{"severity": a.severity},
		Annotations: map[string]string{"summary": a.summary, "description": a.description, "runbook_url": runbooks + a.name + ".md"},
	}
}

// prometheusDuration is a duration as Prometheus writes it.
func prometheusDuration(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
}

func group(name string, alerts []alert) Group {
	g := Group{Name: name}
	for _, a := range alerts {
		g.Rules = append(g.Rules, a.rule())
	}
	return g
}

// workloadGroups look at what runs in a workload cluster, managementGroups at the manager.
func workloadGroups() []Group {
	return []Group{group("registry-cache", cacheAlerts()), group("registry-cache-nodes", nodeAlerts())}
}

func managementGroups() []Group { return []Group{group("capi-registry-cache", managerAlerts())} }

// Rules are all alerts, for a Prometheus without its operator.
func Rules() RuleFile { return RuleFile{Groups: slices.Concat(workloadGroups(), managementGroups())} }

// PrometheusRules are the same for its operator: the first for workload clusters, the second for the management cluster. They name no
// namespace.
func PrometheusRules() []PrometheusRule {
	return []PrometheusRule{prometheusRule("registry-cache", workloadGroups()), prometheusRule("capi-registry-cache", managementGroups())}
}

func prometheusRule(name string, groups []Group) PrometheusRule {
	return PrometheusRule{
		APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule",
		Metadata: Metadata{Name: name, Labels: map[string]string{"app.kubernetes.io/name": "registry-cache"}},
		Spec:     RuleFile{Groups: groups},
	}
}
