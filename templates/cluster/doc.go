// Package cluster holds cluster templates for users, in the format of `clusterctl generate cluster --from`. The tests that use
// them are in test/envtest, where Cluster API's own CRDs and controllers are.
package cluster

import _ "embed"

// ContentFrom is a Cluster whose Machines take the node payload from the Secret that the controller publishes. Its variables are
// ${CLUSTER_NAME}, ${NAMESPACE}, ${KUBERNETES_VERSION}, ${CONTROL_PLANE_MACHINE_COUNT} and ${WORKER_MACHINE_COUNT}.
//
//go:embed cluster-template-content-from.yaml
var ContentFrom string
