// Package registrycache reconciles RegistryCache: it chooses the addresses of the caches, brings the caches into the
// workload cluster of the same name, watches them there, and removes them again.
//
// A reconcile is a list of phases, a verb and a file each. Phases record facts on the scope; status.go alone
// turns facts into conditions. Addresses are chosen and written to the status before the workload cluster is
// asked for anything, because the first control plane Machine needs them (design decision 2).
//
// Trade-offs made:
//
//   - Whatever a user has to mend (a Service CIDR, an object that the API server of the workload cluster rejects)
//     becomes a condition and is not tried again before something changes or the resync comes.
//   - A workload cluster that is not connected is waited for without a requeue: the ClusterCache wakes the
//     controller. What runs there goes on as it is (I5).
//   - A removed RegistryCache waits for its objects to be gone, but not longer than a deadline, and not at all when
//     the Cluster goes away with them (I8).
//   - The address of a cache changes in one case only: its Service has to be created and another Service
//     holds the address.
//   - The Secret that bootstrap templates may name stays, inert, until the Cluster goes: without it their Machines would
//     never boot (decision 0008).
//   - A namespace that had to be created is left behind: others may have moved in.
package registrycache
