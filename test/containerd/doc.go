// Package containerd holds the specs of the node script on real containerd: each starts a node (systemd in a container,
// of the node image of the test clusters) with one version and one configuration of containerd, and the files that
// bootstrap data would put there. A pull through the CRI of an upstream that exists only behind a mirror then shows that
// the mirror is used.
//
//	make e2e-containerd               containerd 1.6 and the current one
//	make e2e-containerd LABELS=slow   all versions in between
//
// What one node shows it shows at once: three caches (plain, by IPv6, with TLS) and a hosts.toml that is not ours. What it asks
// when it has mirrors is seen by registries in the process of the specs.
package containerd
