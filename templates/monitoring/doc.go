// Package monitoring has the alerts and the dashboard of registry caches: values in, documents for Prometheus and Grafana out. `make
// generate` writes them to config/monitoring.
//
// Alerts are written once (cacheAlerts, nodeAlerts, managerAlerts) and rendered as a file of rules for a plain Prometheus and as
// PrometheusRules for its operator. Those of a workload cluster and those of the management cluster are groups of their own: each stays
// silent where what it looks at is not scraped. Each has a page in docs/runbooks.
//
// What expressions rely on is docs/metrics.md, and that targets have the labels namespace, pod, node, and for caches upstream
// (config/monitoring/prometheus.yaml). The label cluster is the user's, and may be missing.
//
// The dashboard is made with Grafana's own builders. They are no part of any binary that runs in a cluster.
package monitoring
