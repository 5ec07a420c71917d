// Package monitoring holds what config/monitoring says of Pods against the Pods as they are rendered. That the kinds of the Prometheus
// Operator are right is test/envtest's, that a real Prometheus finds its targets test/e2e's.
package monitoring
