// Package cluster holds cluster templates for users, in the format of `clusterctl generate cluster --from`, and makes the definition of
// the ClusterClass variable from the CRD, which `make generate` writes into two of them. Tests of templates with Cluster API's own CRDs and
// controllers are in test/envtest.
package cluster

import _ "embed"

// Classic is a Cluster with its RegistryCache. Its variables are those of ContentFrom.
//
//go:embed cluster-template.yaml
var Classic string

// ContentFrom is a Cluster whose Machines take the node payload from the Secret that the controller publishes. Its variables are
// ${CLUSTER_NAME}, ${NAMESPACE}, ${KUBERNETES_VERSION}, ${CONTROL_PLANE_MACHINE_COUNT} and ${WORKER_MACHINE_COUNT}.
//
//go:embed cluster-template-content-from.yaml
var ContentFrom string

// Class is a ClusterClass with the variable registryCache, and its templates. Its variable is ${NAMESPACE}.
//
//go:embed clusterclass.yaml
var Class string

// Topology is a Cluster of Class that uses the variable. Its variables are those of ContentFrom.
//
//go:embed cluster-template-topology.yaml
var Topology string
