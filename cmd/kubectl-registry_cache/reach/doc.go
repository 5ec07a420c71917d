// Package reach is the way of the plugin to clusters, with the rights of who runs it: the management cluster, the workload cluster of a
// Cluster by the kubeconfig that Cluster API keeps for it, and the Pods there by way of its API server. It keeps no cache: each question
// is one request.
package reach
