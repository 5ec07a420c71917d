// Package preview shows what would become of bootstrap data, without a cluster: it is what `manager inject` and the preview of the kubectl
// plugin have in common. It lets the controller choose addresses and the webhook inject, and changes nothing itself.
package preview

import (
	"fmt"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
)

// Limits are those that the webhook has for bootstrap data.
type Limits = webhooks.Limits

// Inject returns what would become of bootstrap data of a Machine of cluster, with the addresses that rc has in its status,
// and for the others those that the controller would choose. Format is the provider's word for the data, "" if it has none.
// Neither object is changed. An error says why caches have no address.
func Inject(cluster *clusterv1.Cluster, rc *v1alpha1.RegistryCache, data []byte, format string, limits Limits) (bootstrap.Result, error) {
	rc = rc.DeepCopy()
	if err := registrycache.Allocate(cluster, rc); err != nil {
		return bootstrap.Result{}, err
	}
	return webhooks.Inject(rc, data, format, limits), nil
}

// Summary is a line about a result of data that had this many bytes before.
func Summary(result bootstrap.Result, before int, limits Limits) string {
	if !result.Injected {
		return fmt.Sprintf("%s: passed through unchanged, %d bytes: %s", result.Format, before, result.Reason)
	}
	large := ""
	if limits.Warn(before, len(result.Data)) {
		large = fmt.Sprintf(" (over %d: some clouds take no more)", limits.WarnBytes)
	}
	return fmt.Sprintf("%s: injected, %d bytes before, %d after%s, files: %s", result.Format, before, len(result.Data), large, strings.Join(result.Files, " "))
}
