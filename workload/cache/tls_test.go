package cache_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

// mount is a directory with a certificate as kubelet has it: links into a directory that is itself a link, swapped as a whole.
type mount struct{ dir string }

func (m mount) write(t *testing.T, version string, files map[string]string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(os.Mkdir(filepath.Join(m.dir, version), 0o700)).To(Succeed())
	for name, content := range files {
		g.Expect(os.WriteFile(filepath.Join(m.dir, version, name), []byte(content), 0o600)).To(Succeed())
		if _, err := os.Lstat(filepath.Join(m.dir, name)); err != nil {
			g.Expect(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name))).To(Succeed())
		}
	}
	g.Expect(os.Symlink(version, filepath.Join(m.dir, "..tmp"))).To(Succeed())
	g.Expect(os.Rename(filepath.Join(m.dir, "..tmp"), filepath.Join(m.dir, "..data"))).To(Succeed())
}

func (m mount) section() map[string]any {
	return map[string]any{"certificate": filepath.Join(m.dir, "tls.crt"), "key": filepath.Join(m.dir, "tls.key")}
}

// pair is a certificate of the authority for the cache under test.
func pair(t *testing.T, ca *authority.Authority) map[string]string {
	t.Helper()
	certificate, key, err := ca.Issue(authority.Names{DNS: []string{"cache"}, Address: netip.MustParseAddr("127.0.0.1")}, time.Now())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return map[string]string{"tls.crt": string(certificate), "tls.key": string(key)}
}

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	ca, err := authority.New(time.Now())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return ca
}

// node is a client that trusts some authorities, as containerd does: HTTP/2 if it is offered.
func node(trusted ...*authority.Authority) *http.Client {
	roots := x509.NewCertPool()
	for _, ca := range trusted {
		roots.AddCert(ca.Certificate)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
}

// fetch returns the answer's protocol and body, and the serial number of the server's certificate.
func fetch(client *http.Client, address string) (protocol, body string, serial *big.Int, err error) {
	response, err := client.Get(address)
	if err != nil {
		return "", "", nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if response.TLS != nil {
		serial = response.TLS.PeerCertificates[0].SerialNumber
	}
	return response.Proto, string(content), serial, err
}

func TestACertificateIsTakenOverWithoutARestart(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	old, newer := newAuthority(t), newAuthority(t)
	m := mount{t.TempDir()}
	m.write(t, "..1", pair(t, old))
	p := startCache(t, settings{remoteURL: up.URL, tls: m.section()})
	address := blobURL("https://"+p.address("registry"), img.layerDigest)

	open := node(old)
	protocol, body, first, err := fetch(open, address)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(protocol).To(Equal("HTTP/2.0"))
	g.Expect(digest(body)).To(Equal(img.layerDigest))

	m.write(t, "..2", pair(t, newer))
	g.Eventually(func() error { _, _, _, err := fetch(node(newer), address); return err }, "10s").Should(Succeed())
	_, _, _, err = fetch(node(old), address)
	g.Expect(err).To(MatchError(ContainSubstring("certificate")))
	_, _, serial, err := fetch(open, address)
	g.Expect(err).NotTo(HaveOccurred(), "an open connection goes on")
	g.Expect(serial).To(Equal(first))
	g.Expect(p.output()).To(ContainSubstring("took over another certificate"))

	broken := pair(t, old)
	broken["tls.key"] = pair(t, newer)["tls.key"]
	m.write(t, "..3", broken)
	g.Eventually(func() string { _, _, _, err = fetch(node(newer), address); return p.output() }, "10s").Should(ContainSubstring("the last good one stays"))
	g.Expect(err).NotTo(HaveOccurred())
	for range 3 {
		_, _, _, err = fetch(node(newer), address)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(p.output()).NotTo(ContainSubstring("PRIVATE KEY"))

	m.write(t, "..4", pair(t, old))
	g.Eventually(func() error { _, _, _, err := fetch(node(old), address); return err }, "10s").Should(Succeed())
	g.Expect(get(t, p.registry+"/v2/").status).To(Equal(http.StatusBadRequest), "plain HTTP has to be asked for")
}

func TestACacheAnswersTLSAndPlainHTTPSideBySide(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	ca := newAuthority(t)
	m := mount{t.TempDir()}
	m.write(t, "..1", pair(t, ca))
	p := startCache(t, settings{remoteURL: up.URL, tls: m.section(), cleartext: true})
	secure := "https://" + p.address("registry")

	pull(t, p.registry, "v1", img)
	blobs := up.blobRequests()
	for _, client := range []*http.Client{node(ca), http.DefaultClient} {
		base := map[bool]string{true: p.registry, false: secure}[client == http.DefaultClient]
		_, body, _, err := fetch(client, blobURL(base, img.layerDigest))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(digest(body)).To(Equal(img.layerDigest))
	}
	g.Expect(up.blobRequests()).To(Equal(blobs), "both are the same cache")
	protocol, _, _, err := fetch(node(ca), secure+"/v2/")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(protocol).To(Equal("HTTP/2.0"))
	_, _, _, err = fetch(node(), secure+"/v2/")
	g.Expect(err).To(MatchError(ContainSubstring("unknown authority")))

	silent, err := net.Dial("tcp", p.address("registry"))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = silent.Close() }()
	slow, err := net.Dial("tcp", p.address("registry"))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = slow.Close() }()
	for _, part := range []string{"G", "ET /v2/ HTTP/1.1\r\n", "Host: cache\r\n\r\n"} {
		_, err = io.WriteString(slow, part)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(get(t, p.registry+"/v2/").status).To(Equal(http.StatusOK), "nobody waits for a client that sends nothing, or byte by byte")
	}
	line, err := bufio.NewReader(slow).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.TrimSpace(line)).To(Equal("HTTP/1.1 200 OK"))
}

func TestBothSidesAreDrained(t *testing.T) {
	for name, secure := range map[string]bool{"TLS": true, "plain HTTP": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			img := up.push(t, "v1")
			up.hold, up.held = make(chan struct{}), make(chan struct{})
			ca := newAuthority(t)
			m := mount{t.TempDir()}
			m.write(t, "..1", pair(t, ca))
			p := startCache(t, settings{remoteURL: up.URL, tls: m.section(), cleartext: true})
			base := map[bool]string{true: "https://" + p.address("registry"), false: p.registry}[secure]
			bodies := make(chan string, 1)
			go func() {
				_, body, _, _ := fetch(node(ca), blobURL(base, img.layerDigest))
				bodies <- body
			}()
			g.Eventually(up.held, "10s").Should(BeClosed())
			wait := p.terminate(t)
			g.Eventually(p.output, "10s").Should(ContainSubstring("draining connections"))
			g.Eventually(func() error { _, err := net.Dial("tcp", p.address("registry")); return err }, "10s").Should(HaveOccurred())
			close(up.hold)
			g.Expect(digest(<-bodies)).To(Equal(img.layerDigest))
			g.Expect(wait()).To(Equal(0), p.output())
		})
	}
}

func TestACacheWithoutItsCertificateDoesNotStart(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	up := newUpstream(t)
	config := writeConfig(t, dir, settings{remoteURL: up.URL, tls: map[string]any{"certificate": dir + "/tls.crt", "key": dir + "/tls.key"}})
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), configVariable+"="+config)
	output, err := command.CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(string(output)).To(And(ContainSubstring("http.tls.certificate"), ContainSubstring(dir+"/tls.crt")))
}
