// Package topology makes the RegistryCache of a Cluster from the variable registryCache of its topology: created with it, changed with
// it, deleted with it. It does not know ClusterClasses: the variable may be defined inline by the author of the class, or be discovered
// from the runtime extension, and what it holds is the spec of a RegistryCache either way.
//
// A RegistryCache that is made from the variable has the Cluster as its controller. One that is hand-written has none and is left alone,
// as it beats the variable; one of a RegistryCacheSet is taken over in place, so that its caches run on. When the variable goes, the
// RegistryCache goes with it, and whoever comes next makes it anew.
//
// A value that cannot be applied changes nothing (I5). It is told in an Event about the Cluster, once, and in the condition
// VariableApplied of the RegistryCache if there is one. This controller alone writes that condition, and no other field of the status.
//
// The wanted spec is defaulted here as the API server would, and compared with what is there, so that nothing is sent while nothing
// changes (I6). It replaces the whole spec: with server-side apply, fields that an earlier keeper had set would stay.
package topology
