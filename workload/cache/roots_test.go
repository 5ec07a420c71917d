package cache

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestPublicRootsAreTrustedOnce(t *testing.T) {
	g := NewWithT(t)
	trustRoots()
	g.Expect(trustRoots).NotTo(Panic())
	g.Expect(func() { x509.SetFallbackRoots(x509.NewCertPool()) }).To(Panic(), "ours are set, and can be set only once")
}

// TestPublicRootsAreTrustedBesideADirectoryOfCertificates is how an image that the spec names gets the CA of its upstream.
func TestPublicRootsAreTrustedBesideADirectoryOfCertificates(t *testing.T) {
	const inner = "TEST_PUBLIC_ROOTS"
	g := NewWithT(t)
	if os.Getenv(inner) != "" {
		trustRoots()
		pool, err := x509.SystemCertPool()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(pool.Subjects())).To(BeNumerically(">", 50)) //nolint:staticcheck // all are known, as none of them is read later
		return
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600)).To(Succeed())
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), inner+"=1", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR="+dir, "GODEBUG=x509usefallbackroots=1")
	output, err := command.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(output))
	g.Expect(strings.Contains(string(output), "--- PASS: "+t.Name())).To(BeTrue())
}
