package metrics

import (
	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// inUse is 1 if nodes pull through a cache and 0 if they do not, as far as that is known.
func inUse(s v1alpha1.CacheStatus) (value float64, known bool) {
	switch s.InUse {
	case v1alpha1.CacheInUse:
		return 1, true
	case v1alpha1.CacheBypassed, v1alpha1.CacheNotUsed:
		return 0, true
	}
	return 0, false
}
