package v1alpha1

// NodePayloadKey is the key of the archive in the Secret of a node payload. It is in base64, as the kubeadm provider puts what a
// file's contentFrom names into bootstrap data as text, whether that is for cloud-init or Ignition; the file says so with
// encoding: base64.
const NodePayloadKey = "install.gz.b64"

// NodePayloadName returns the name of the Secret, in the namespace of a Cluster, that bootstrap templates may take the node
// payload from.
func NodePayloadName(cluster string) string { return cluster + "-registry-cache" }
