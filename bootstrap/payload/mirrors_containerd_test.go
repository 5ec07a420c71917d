package payload

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// pulled is the one manifest that all registries have, if they have anything.
const pulled = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`

// registries note who was asked for what, in the order of the requests.
type registries struct {
	*WithT
	t    *testing.T
	mu   sync.Mutex
	asks []string
}

// handler is a registry below a path; what it has not, it denies.
func (r *registries) handler(name, root string, has bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/v2/") {
			return
		}
		reference, ok := strings.CutPrefix(req.URL.Path, root+"/library/image/manifests/")
		kind := "tag"
		if strings.HasPrefix(reference, "sha256:") {
			kind = "digest"
		}
		r.mu.Lock()
		r.asks = append(r.asks, name+" "+kind)
		r.mu.Unlock()
		if !ok || !has {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", imagev1.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromString(pulled).String())
		http.ServeContent(w, req, "", time.Time{}, strings.NewReader(pulled))
	})
}

func (r *registries) plain(name, root string, has bool) *httptest.Server {
	server := httptest.NewServer(r.handler(name, root, has))
	r.t.Cleanup(server.Close)
	return server
}

// secret serves TLS with a certificate that nobody trusts without being told.
func (r *registries) secret(name string, has bool) *httptest.Server {
	server := httptest.NewUnstartedServer(r.handler(name, "/v2", has))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	r.t.Cleanup(server.Close)
	return server
}

// pull resolves a tag of the upstream and fetches its manifest, by containerd's own client and what is in the certs directory of a
// node. It returns who was asked, and how long that took.
func (r *registries) pull(n *node, upstream string) ([]string, time.Duration) {
	r.t.Helper()
	r.mu.Lock()
	r.asks = nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, config.HostOptions{HostDir: config.HostDirFromRoot(n.path(DefaultCertsDir))})})
	name, descriptor, err := resolver.Resolve(ctx, upstream+"/library/image:v1")
	r.Expect(err).NotTo(HaveOccurred())
	fetcher, err := resolver.Fetcher(ctx, name)
	r.Expect(err).NotTo(HaveOccurred())
	body, err := fetcher.Fetch(ctx, descriptor)
	r.Expect(err).NotTo(HaveOccurred())
	defer func() { r.Expect(body.Close()).To(Succeed()) }()
	content, err := io.ReadAll(body)
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(string(content)).To(Equal(pulled))
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks, took
}

func host1(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// runs starts the script with real curl.
func (r *registries) runs(v Values, state string) *node {
	r.t.Helper()
	n := newNode(r.t, shells["dash"])
	n.fakesOf("containerd", "systemctl", "sleep")
	n.installAll(v)
	n.start()
	n.Eventually(n.state, patience).Should(Equal(state))
	r.t.Cleanup(n.stop)
	return n
}

func TestMirrors_are_asked_by_containerd_after_the_cache_in_their_order_and_before_the_upstream(t *testing.T) {
	t.Parallel()
	r := &registries{WithT: NewWithT(t), t: t}
	upstream, cache := r.plain("upstream", "/v2", true), r.plain("cache", "/v2", false)
	z, a, m := r.plain("z", "/v2", false), r.secret("a", false), r.plain("m", "/hub", false)
	mirrors := []Mirror{{Upstream: host1(upstream), Hosts: []MirrorHost{
		{URL: z.URL, Capabilities: []string{"pull"}},
		{URL: a.URL, Capabilities: []string{"pull", "resolve"}, CA: certificate(a)},
		{URL: m.URL + "/hub", Capabilities: []string{"pull"}, OverridePath: true},
	}}}
	n := r.runs(Values{Caches: []Cache{{Upstream: host1(upstream), Endpoint: cache.URL}}, Mirrors: mirrors}, host1(upstream)+" active\n")
	asks, _ := r.pull(n, host1(upstream))
	r.Expect(asks).To(Equal([]string{
		"cache tag", "a tag", "upstream tag", // only those that may say what a tag means
		"cache digest", "z digest", "a digest", "m digest", "upstream digest",
	}))

	cache.Close()
	n.Eventually(n.state, patience).Should(ContainSubstring(" waiting "))
	asks, _ = r.pull(n, host1(upstream))
	r.Expect(asks).To(Equal([]string{"a tag", "upstream tag", "z digest", "a digest", "m digest", "upstream digest"}))
}

func TestMirrors_that_have_the_content_are_the_only_ones_asked(t *testing.T) {
	t.Parallel()
	r := &registries{WithT: NewWithT(t), t: t}
	upstream := r.plain("upstream", "/v2", true)
	one, two := r.secret("one", true), r.plain("two", "/v2", true)
	n := r.runs(Values{Mirrors: []Mirror{{Upstream: host1(upstream), Hosts: []MirrorHost{
		{URL: one.URL, Capabilities: []string{"resolve", "pull"}, CA: certificate(one)},
		{URL: two.URL, Capabilities: []string{"pull", "resolve"}},
	}}}}, host1(upstream)+" static\n")
	asks, _ := r.pull(n, host1(upstream))
	r.Expect(asks).To(Equal([]string{"one tag", "one digest"}))

	upstream.Close()
	one.Close()
	asks, _ = r.pull(n, host1(upstream))
	r.Expect(asks).To(Equal([]string{"two tag", "two digest"}), "no upstream is needed for a mirror that resolves")
}

func TestMirrors_that_are_dead_cost_no_more_than_their_dial_timeout(t *testing.T) {
	t.Parallel()
	r := &registries{WithT: NewWithT(t), t: t}
	upstream := r.plain("upstream", "/v2", true)
	n := r.runs(Values{Mirrors: []Mirror{{Upstream: host1(upstream), Hosts: []MirrorHost{
		{URL: "http://" + blackHole(t), Capabilities: []string{"pull", "resolve"}},
	}}}}, host1(upstream)+" static\n")
	limit, err := time.ParseDuration(mirrorDialTimeout)
	r.Expect(err).NotTo(HaveOccurred())
	asks, took := r.pull(n, host1(upstream))
	r.Expect(asks).To(Equal([]string{"upstream tag", "upstream digest"}))
	r.Expect(took).To(And(BeNumerically(">=", 2*limit), BeNumerically("<", 2*limit+4*time.Second)), "two requests, and some time for a machine under load")
}

// blackHole is an address that answers nobody, like that of a machine that is gone: the queue of connections is full.
func blackHole(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	raw, err := listener.SyscallConn()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(raw.Control(func(socket uintptr) { err = syscall.Listen(int(socket), 0) })).To(Succeed())
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	g.Eventually(func() error {
		connection, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { _ = connection.Close() })
		}
		return err
	}).Should(MatchError(ContainSubstring("i/o timeout")))
	return address
}
