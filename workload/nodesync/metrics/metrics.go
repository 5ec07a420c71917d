// Package metrics declares what node-sync tells Prometheus of its node, once, and writes it as text.
//
// Prometheus' own library would be a third of the program, which is on every node (docs/decisions/0013). What it writes is read
// back by that library in tests, and by promtool.
package metrics

// Type is what Prometheus is told that a value is.
type Type string

// Types of metrics.
const (
	Counter Type = "counter"
	Gauge   Type = "gauge"
)

// Metric describes the series of a name.
type Metric struct {
	Name   string
	Type   Type
	Help   string
	Labels []string
}

// What node-sync tells.
var (
	UpstreamState = Metric{"registry_cache_node_upstream_state", Gauge,
		"1 for the state that the node's unit gives for an upstream, 0 for the others: active, static, waiting, conflict or unsupported.", []string{"upstream", "state"}}
	Reason = Metric{"registry_cache_node_reason", Gauge,
		"1 for why an upstream is neither active nor static; without an upstream for what concerns the whole node.", []string{"upstream", "reason"}}
	Withdrawals = Metric{"registry_cache_node_withdrawals_total", Counter,
		"How often an upstream stopped being active, as far as looks every few seconds see it.", []string{"upstream"}}
	Synced = Metric{"registry_cache_node_synced", Gauge,
		"1 while the node's unit has acted on the generation that is desired; for a removal, once nothing of ours is left.", nil}
)

// All are all metrics of node-sync.
var All = []Metric{UpstreamState, Reason, Withdrawals, Synced}

// States are the values of the label state.
var States = []string{"active", "static", "waiting", "conflict", "unsupported"}

// UpstreamReasons are the values of the label reason for an upstream, NodeReasons those for a whole node.
var (
	UpstreamReasons = []string{
		"cache_not_answering", "write_failed", "foreign_file",
		"containerd_not_found", "containerd_config_unreadable", "containerd_registry_mirrors", "containers_running", "containerd_other_directory",
		"containerd_config_not_set", "containerd_config_path", "curl_not_found", "other",
	}
	NodeReasons = []string{"no_systemd", "write_failed", "pending"}
)
