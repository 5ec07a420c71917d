// Package envtest starts a real API server with the CRDs of this project and those of Cluster API, and runs the real
// controllers of Cluster API against it where a test needs what they make: bootstrap data, owners, status.
//
// One API server plays both parts: it is the management cluster and, through the kubeconfig Secret of each test Cluster,
// also every workload cluster. So tests give caches of different Clusters different names or namespaces, and nothing runs:
// there are no Nodes, Pods or controllers of Kubernetes itself.
//
// The webhook configuration is the one that is shipped, with its selectors and match conditions; only its client
// configuration is pointed at the webhook server of the test. While no manager with a webhook runs, that server is down.
// The CRDs of Cluster API serve v1beta2 only, and its own webhooks are not installed.
//
// The binaries are found in KUBEBUILDER_ASSETS or else where `make envtest-assets` puts them.
package envtest
