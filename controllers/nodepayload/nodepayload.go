// Package nodepayload says what the nodes of a Cluster are told, however they are told: by the bootstrap data Secret at
// admission, or by a Secret that a bootstrap template names.
package nodepayload

import (
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// Archive is what payload.Archive makes of the files of a node. Where there is nothing to tell it is a script that does nothing: what
// names it boots like any other Machine.
func Archive(rc *v1alpha1.RegistryCache) ([]byte, error) {
	values := Values(rc)
	if values.Empty() {
		return payload.Archive(nil)
	}
	files, err := payload.Files(values)
	if err != nil {
		return nil, err
	}
	return payload.Archive(files)
}

// Values are the caches that have an address, whether or not they already run, but not one that serves TLS while nobody knows what nodes
// are to trust, and the mirrors. There are none if rc is nil or is being deleted.
func Values(rc *v1alpha1.RegistryCache) payload.Values {
	if rc == nil || !rc.DeletionTimestamp.IsZero() {
		return payload.Values{}
	}
	values := payload.Values{CertsDir: rc.Spec.Nodes.CertsDir}
	for _, c := range rc.Status.Caches {
		cache := payload.Cache{Upstream: c.Upstream, Endpoint: c.Endpoint}
		secure := strings.HasPrefix(c.Endpoint, "https://")
		if secure {
			cache.CA = rc.Status.CABundle
		}
		if c.Endpoint != "" && (len(cache.CA) > 0 || !secure) {
			values.Caches = append(values.Caches, cache)
		}
	}
	values.Mirrors = mirrors(rc)
	return values
}
