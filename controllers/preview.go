package controllers

import (
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
)

// Preview returns what would become of bootstrap data of a Machine of cluster, with the addresses that rc has in its status,
// and for the others those that the controller would choose. Format is the provider's word for the data, "" if it has none.
// Neither object is changed. An error says why caches have no address.
func Preview(cluster *clusterv1.Cluster, rc *v1alpha1.RegistryCache, data []byte, format string, limits webhooks.Limits) (bootstrap.Result, error) {
	rc = rc.DeepCopy()
	if err := registrycache.Allocate(cluster, rc); err != nil {
		return bootstrap.Result{}, err
	}
	return webhooks.Inject(rc, data, format, limits), nil
}
