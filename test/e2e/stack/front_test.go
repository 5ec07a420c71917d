package stack

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"
)

func TestFronts_pass_on_or_deny_and_note_who_was_asked(t *testing.T) {
	g := NewWithT(t)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	defer backend.Close()
	f := &Fronts{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	empty, err := f.Serve(Front{Name: "empty", Address: f.Addresses[0], Root: "/hub"})
	g.Expect(err).NotTo(HaveOccurred())
	defer empty.Close()
	full, err := f.Serve(Front{Name: "full", Address: f.Addresses[0], Backend: backend.URL, TLS: true})
	g.Expect(err).NotTo(HaveOccurred())
	defer full.Close()
	pool := x509.NewCertPool()
	g.Expect(pool.AppendCertsFromPEM(full.CA)).To(BeTrue())
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	get := func(url string) (int, string) {
		response, err := trusting.Get(url)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { g.Expect(response.Body.Close()).To(Succeed()) }()
		body, err := io.ReadAll(response.Body)
		g.Expect(err).NotTo(HaveOccurred())
		return response.StatusCode, string(body)
	}
	for url, want := range map[string]int{empty.URL + "/hub/": http.StatusOK, empty.URL + "/v2/": http.StatusNotFound, full.URL + "/v2/": http.StatusOK} {
		status, _ := get(url + "?ns=docker.io")
		g.Expect(status).To(Equal(want), url)
	}
	f.Forget()
	status, _ := get(empty.URL + "/hub/a/blobs/x")
	g.Expect(status).To(Equal(http.StatusNotFound))
	status, path := get(full.URL + "/v2/a/blobs/x")
	g.Expect(status).To(Equal(http.StatusOK))
	g.Expect(path).To(Equal("/v2/a/blobs/x"))
	get(full.URL + "/v2/a/manifests/v1")
	g.Expect(f.Orders()).To(Equal(map[string][]string{"a/blobs/x": {"empty", "full"}, "a/manifests/v1": {"full"}}))
}
