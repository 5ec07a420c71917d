package registrycache

import (
	"cmp"
	"slices"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// defaultServiceDomain is that of Kubernetes and of Cluster API.
const defaultServiceDomain = "cluster.local"

// clusterNetworks are the CIDRs of Pods and Services and the service domain of a Cluster: what a cache reaches without an
// egress proxy. CIDRs that the Cluster does not name are not known here; spec.caches[].proxy.noProxy can.
func clusterNetworks(cluster *clusterv1.Cluster) []string {
	network := cluster.Spec.ClusterNetwork
	services := network.Services.CIDRBlocks
	if len(services) == 0 && cluster.Spec.ControlPlaneRef.Kind == kubeadmControlPlaneKind {
		services = []string{kubeadmServiceCIDR}
	}
	return slices.Concat(network.Pods.CIDRBlocks, services, []string{cmp.Or(network.ServiceDomain, defaultServiceDomain)})
}
