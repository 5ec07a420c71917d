package metrics

import (
	"crypto/x509"
	"encoding/pem"
	"time"
)

// authorityEnd is when the newest authority of a bundle ends, which is its first: that one signs.
func authorityEnd(bundle []byte) (time.Time, bool) {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return time.Time{}, false
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return certificate.NotAfter, true
}
