// Package extension is the runtime extension for ClusterClasses: Cluster API asks it for the schema of the variable registryCache, and
// what it thinks of a Cluster's value. It is served with the webhooks, by the same server and with the same certificate.
//
// Usage: NewServer instead of the plain webhook server, if the feature gate RuntimeSDK is on; config/extension registers it with Cluster
// API; an external patch of a ClusterClass names its handlers, see docs/clusterclass.md.
//
// The schema is made from the CRD of this build, so a ClusterClass that discovers it cannot lag behind. The price is that Cluster API
// asks the manager whenever it reads such a ClusterClass afresh, and does not touch its Clusters' topologies while it gets no answer. A
// schema that is pasted into the ClusterClass has no such tie. Once the variable is known, a manager that is down is in nobody's way: the
// handlers that Cluster API calls for each Cluster are ignored when they cannot be reached.
//
// Cluster API refuses an external patch without a handler that generates patches, so there is one that generates none.
//
// This is the only package that imports Cluster API's exp/runtime, which is due to move.
package extension
