// Package extension is the runtime extension for ClusterClasses: Cluster API asks it for the schema of the variable registryCache, and
// what it thinks of a Cluster's value. It is served with the webhooks, by the same server and with the same certificate.
//
// Usage: NewServer instead of the plain webhook server, if the feature gate RuntimeSDK is on; config/extension registers it with Cluster
// API; an external patch of a ClusterClass names its handlers, see docs/clusterclass.md.
//
// The schema is made from the CRD of this build, so a ClusterClass that discovers it cannot lag behind. The price is that Cluster API
// asks the manager whenever it reads such a ClusterClass afresh, and does not touch its Clusters' topologies while it gets no answer. A
// schema that is pasted into the ClusterClass has no such tie. The handlers that Cluster API calls for each Cluster are ignored when they
// cannot be reached.
//
// A manager that is down for long is in the way all the same: when Cluster API's core starts, it asks every extension that is registered
// what it has, tries for 60 seconds, and then exits. So the ExtensionConfig goes before the manager, or its feature gate, does.
//
// Cluster API refuses an external patch without a handler that generates patches, so there is one that generates none.
//
// This is the only package that imports Cluster API's exp/runtime, which is due to move.
package extension
