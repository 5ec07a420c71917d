// Package address chooses the Service address of a cache before the workload cluster exists, so that the first
// Machine can already be told of it.
//
// Kubernetes splits every Service CIDR into a lower band, which it leaves to those who name an address
// themselves, and an upper band, from which it assigns addresses
// (https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/). A Band is that lower band.
// Addresses are taken from its top downwards, because people and installers who choose by hand start at the
// bottom. The first address belongs to the Service "kubernetes" and the tenth to cluster DNS by convention of
// kubeadm and others; neither is ever chosen.
//
// The package is pure arithmetic. Whether an address is free in fact is known to the API server of the workload
// cluster only; a refusal is answered by choosing again with the refused address among the used ones.
package address
