package payload

import (
	_ "embed"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// anotherCA has signed nothing.
//
//go:embed testdata/ca.crt
var anotherCA []byte

// serve answers as a registry does, at an address of this machine.
func serve(t *testing.T, address string, secret bool) *httptest.Server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" || r.URL.Query().Get("ns") == "" {
			http.NotFound(w, r)
		}
	}))
	server.Listener, server.Config.ErrorLog = listener, log.New(io.Discard, "", 0)
	if secret {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestProbe_by_real_curl(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		v6, plain, secret := serve(t, "[::1]:0", false), serve(t, "127.0.0.1:0", false), serve(t, "[::1]:0", true)
		n := newNode(t, shell,
			Cache{Upstream: "v6.example", Endpoint: v6.URL},
			Cache{Upstream: "v4.example:5443", Endpoint: plain.URL},
			Cache{Upstream: "tls.example", Endpoint: secret.URL, CA: certificate(secret)},
			Cache{Upstream: "untrusted.example", Endpoint: secret.URL},
		)
		n.Expect(v6.URL).To(HavePrefix("http://[::1]:"))
		n.fakesOf("containerd", "systemctl", "sleep")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("tls.example active\nuntrusted.example waiting cache " + secret.URL +
			"/v2/?ns=untrusted.example does not answer\nv4.example:5443 active\nv6.example active\n"))
		n.Expect(n.certs()).To(ConsistOf("v6.example/hosts.toml", "v4.example_5443_/hosts.toml", "tls.example/hosts.toml", "tls.example/ca.pem"))
		n.stop()
		n.Expect(n.certs()).To(BeEmpty())
	})
}

func TestProbe_with_a_CA_that_changes(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		secret := serve(t, "127.0.0.1:0", true)
		cache := Cache{Upstream: "docker.io", Endpoint: secret.URL, CA: anotherCA}
		n := newNode(t, shell, cache)
		n.fakesOf("containerd", "systemctl", "sleep")
		n.start()
		n.Eventually(n.state, patience).Should(ContainSubstring("docker.io waiting"), "signed by somebody else")

		cache.CA = certificate(secret)
		n.install(cache)
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.Expect(n.read(DefaultCertsDir + "/docker.io/ca.pem")).To(Equal(Marker + "\n" + string(cache.CA)))

		both := slices.Concat(anotherCA, cache.CA)
		cache.CA = both
		n.install(cache)
		n.Eventually(func() string { return n.read(DefaultCertsDir + "/docker.io/ca.pem") }, patience).Should(HaveSuffix(string(both)))

		plain := serve(t, "127.0.0.1:0", false)
		n.remove("etc/capi-registry-cache/upstreams/docker.io/ca.pem")
		n.install(Cache{Upstream: "docker.io", Endpoint: plain.URL})
		n.Eventually(func() string { return n.read(DefaultCertsDir + "/docker.io/hosts.toml") }, patience).Should(ContainSubstring(plain.URL))
		n.Eventually(n.certs, patience).Should(ConsistOf("docker.io/hosts.toml"), "nothing of TLS is left")
		n.Expect(strings.Count(n.log.String(), "wrote")).To(Equal(4))
		n.stop()
	})
}
