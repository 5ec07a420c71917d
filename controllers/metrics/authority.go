package metrics

import (
	"time"

	"k8s.io/client-go/util/cert"
)

// authorityEnd is when the first authority of a bundle ends. While one is replaced caches may still have certificates of the one before.
func authorityEnd(bundle []byte) (time.Time, bool) {
	authorities, err := cert.ParseCertsPEM(bundle)
	if err != nil || len(authorities) == 0 {
		return time.Time{}, false
	}
	ends := authorities[0].NotAfter
	for _, a := range authorities[1:] {
		if a.NotAfter.Before(ends) {
			ends = a.NotAfter
		}
	}
	return ends, true
}
