package cache

import (
	"crypto/x509"
	"testing"

	. "github.com/onsi/gomega"
)

func TestPublicRootsAreTrustedOnce(t *testing.T) {
	g := NewWithT(t)
	trustRoots()
	g.Expect(trustRoots).NotTo(Panic())
	g.Expect(func() { x509.SetFallbackRoots(x509.NewCertPool()) }).To(Panic(), "ours are set, and can be set only once")
}
