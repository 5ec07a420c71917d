// Package controllers is everything that has a client of the management cluster. setup.go is the one list of what
// runs in the manager; each part is a package of its own, and none imports its sibling:
//
//   - registrycache keeps the caches of each Cluster.
//   - registrycacheset makes RegistryCaches for the Clusters that a selector matches.
//   - topology makes RegistryCaches from the variable registryCache of Clusters, variable reads it, and origin tells whose a RegistryCache is.
//   - extension tells Cluster API of that variable, if the feature gate RuntimeSDK is on.
//   - webhooks tells new Machines of them.
//   - apply writes objects to workload clusters, and answer reads what an API server says against one.
//
// CAPI's ClusterCache is due to move, so setup.go is the only file that imports it; registrycache says in an interface of its own
// what it needs.
package controllers
