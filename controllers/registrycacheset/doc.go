// Package registrycacheset reconciles RegistryCacheSet: it gives every Cluster that the selector matches a RegistryCache made of the
// template, and takes it away from those that are not matched any more.
//
// A reconcile looks at all Clusters, RegistryCaches and sets of the namespace, which the manager has in its memory, decides for each
// Cluster (claims.go, which asks nobody), and writes what differs. So it costs one write for each RegistryCache that has to change, and
// none when nothing has.
//
// Trade-offs made:
//
//   - A RegistryCache of a set is exactly what the template says: what somebody else adds to its spec is taken out again. The template
//     has the same schema as a RegistryCache, and the same defaults, so the two can be compared as they are.
//   - Every write is made on condition that the RegistryCache is the one that was looked at. So one that a user has taken over, or has
//     written in the meantime, is never overwritten.
//   - RegistryCaches have two owners, their set and their Cluster, and the garbage collector removes what has no owner left. So the set
//     removes its RegistryCaches itself, when it goes and when their Cluster has gone.
//   - What the API server does not accept is not sent again before something changes or some time has passed.
package registrycacheset
