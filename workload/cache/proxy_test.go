package cache_test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// noProxy is what is rendered for a cluster (templates/manifests).
const noProxy = "localhost,127.0.0.1,::1,.svc,192.0.2.0/24,cluster.local"

// egressProxy is a forwarding proxy: it opens tunnels (CONNECT), and sends requests on that name a whole URL. Whatever host it
// is asked for, it reaches the one upstream.
type egressProxy struct {
	*httptest.Server
	mu     sync.Mutex
	to     string // host:port
	refuse int    // the status that it answers with instead
	seen   []string
}

func newEgressProxy(t *testing.T, upstream string) *egressProxy {
	t.Helper()
	target, err := url.Parse(upstream)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	p := &egressProxy{to: target.Host}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP implements http.Handler.
func (p *egressProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host)
	refuse := p.refuse
	p.mu.Unlock()
	switch {
	case refuse != 0:
		w.WriteHeader(refuse)
	case r.Method == http.MethodConnect:
		p.tunnel(w)
	case r.URL.IsAbs():
		(&httputil.ReverseProxy{Rewrite: func(out *httputil.ProxyRequest) { out.Out.URL.Host, out.Out.Host = p.to, r.Host }}).ServeHTTP(w, r)
	default:
		http.Error(w, "this is a proxy", http.StatusBadRequest)
	}
}

func (p *egressProxy) tunnel(w http.ResponseWriter) {
	upstream, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer upstream.Close() //nolint:errcheck // of a test
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close() //nolint:errcheck // of a test
	// Only now, as net/http would read ahead what the client sends next.
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() { _, _ = io.Copy(upstream, buffered) }()
	_, _ = io.Copy(client, upstream)
}

func (p *egressProxy) refuseWith(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = status
}

func (p *egressProxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// startBehind starts a cache that is told of the proxy as StatefulSets tell it.
func startBehind(t *testing.T, proxy *egressProxy, s settings) *process {
	t.Helper()
	dir := t.TempDir()
	return startWith(t, dir, writeConfig(t, dir, s), "HTTP_PROXY="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "NO_PROXY="+noProxy)
}

// secured serves an upstream with TLS as example.com; the file holds its CA.
func secured(t *testing.T, up *upstream) (server *httptest.Server, caFile string) {
	t.Helper()
	server = httptest.NewTLSServer(up.Config.Handler)
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	NewWithT(t).Expect(os.WriteFile(caFile, content, 0o600)).To(Succeed())
	return server, caFile
}

func TestAnHTTPSUpstreamIsReachedThroughATunnelOfTheEgressProxy(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	server, ca := secured(t, up)
	proxy := newEgressProxy(t, server.URL)
	p := startBehind(t, proxy, settings{remoteURL: "https://example.com", upstream: map[string]any{"cafile": ca}})
	pull(t, p.registry, "v1", img)
	g.Expect(proxy.asked()).NotTo(BeEmpty())
	g.Expect(proxy.asked()).To(HaveEach("CONNECT example.com:443"))
}

func TestAnHTTPUpstreamIsReachedThroughTheEgressProxy(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	proxy := newEgressProxy(t, up.URL)
	p := startBehind(t, proxy, settings{remoteURL: "http://registry.example.com:5000"})
	pull(t, p.registry, "v1", img)
	g.Expect(proxy.asked()).To(ContainElement("GET registry.example.com:5000"))
	g.Expect(proxy.asked()).NotTo(ContainElement(HavePrefix("CONNECT")))
}

// TestWhatIsInTheClusterIsNotReachedThroughTheEgressProxy asks for what nobody answers: that the proxy, which would answer, is
// not asked is what counts.
func TestWhatIsInTheClusterIsNotReachedThroughTheEgressProxy(t *testing.T) {
	for name, remote := range map[string]string{
		"a Service by its name":                 "http://registry.default.svc:1",
		"a Service by its name with the domain": "http://registry.default.svc.cluster.local:1",
		"the address of a Service":              "http://192.0.2.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			up.push(t, "v1")
			proxy := newEgressProxy(t, up.URL)
			p := startBehind(t, proxy, settings{remoteURL: remote, upstream: map[string]any{"dialtimeout": "300ms"}})
			g.Expect(get(t, manifestURL(p.registry, "v1")).status).To(Equal(http.StatusServiceUnavailable))
			g.Expect(proxy.asked()).To(BeEmpty())
		})
	}
}

// TestAnEgressProxyThatRefusesIsATroubleOfTheUpstream guards I3: what is stored is served, what is not gets 503 at once, and
// the proxy is left alone until it opens tunnels again.
func TestAnEgressProxyThatRefusesIsATroubleOfTheUpstream(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusBadGateway} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			img := up.push(t, "v1")
			server, ca := secured(t, up)
			proxy := newEgressProxy(t, server.URL)
			p := startBehind(t, proxy, settings{remoteURL: "https://example.com", upstream: map[string]any{"cafile": ca}})
			pull(t, p.registry, "v1", img)

			proxy.refuseWith(status)
			server.CloseClientConnections()
			pull(t, p.registry, "v1", img)
			const failuresToOpen = 3
			for range failuresToOpen {
				g.Expect(get(t, manifestURL(p.registry, "v2")).status).To(Equal(http.StatusServiceUnavailable))
			}
			g.Expect(get(t, p.debug+"/metrics").body).To(ContainSubstring("\nregistry_cache_upstream_breaker_open 1\n"))
			g.Expect(p.output()).To(ContainSubstring(`"kind":"refused"`))

			proxy.refuseWith(0)
			up.push(t, "v2")
			g.Eventually(func() int { return get(t, manifestURL(p.registry, "v2")).status }, "30s").Should(Equal(http.StatusOK))
		})
	}
}
