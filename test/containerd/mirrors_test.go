//go:build e2e

package containerd

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// systemCA is read with the certificates of the system.
	systemCA = "/etc/ssl/certs/mirrors-upstream.pem"
	// nowhere is dropped on its way out, see stack.CutOff.
	nowhere = "http://192.0.2.1:5000"
	// deadPull is what a pull may take whose first mirror leads nowhere: seven requests, if all were made one after the other, of
	// which each costs dial_timeout, and the pull itself.
	deadPull = 7*time.Second + 3*time.Second
)

var _ = Describe("a node with mirrors", func() {
	for _, v := range versions {
		Describe("and containerd "+v.name, v.labels, func() {
			It("asks the cache, the mirrors in their order, and the upstream last", v.asksInOrder, NodeTimeout(specTimeout))
			It("and nothing else pulls from them, whether one of them is dead or not", v.pullsFromMirrorsAlone, NodeTimeout(specTimeout))
		})
	}
})

// fronts are registries at the addresses of this machine in the nodes' network.
type fronts struct{ *stack.Fronts }

func newFronts(ctx context.Context) fronts {
	GinkgoHelper()
	f, err := stack.NewFronts(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	Expect(f.Addresses).To(HaveLen(2), "IPv4 and IPv6")
	return fronts{f}
}

// serve starts a front until the spec ends; full ones have all that the registry of the suite has.
func (f fronts) serve(front stack.Front, full bool) *stack.FrontServer {
	GinkgoHelper()
	if full {
		front.Backend = registry.PlainURLs[0]
	}
	server, err := f.Serve(front)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Close)
	return server
}

// expectOrder pulls an image of which only the last has anything, and looks at who was asked before it.
func (f fronts) expectOrder(ctx context.Context, n *node, upstream, repository string, forTags, forContent []string) {
	GinkgoHelper()
	f.Forget()
	Expect(registry.Pull(ctx, n.Node, upstream+"/"+repository+":v1")).To(Succeed())
	orders := f.Orders()
	Expect(orders).To(HaveKeyWithValue(repository+"/manifests/v1", forTags))
	delete(orders, repository+"/manifests/v1")
	Expect(len(orders)).To(BeNumerically(">=", 2), "a manifest and blobs")
	Expect(orders).To(HaveEach(Equal(forContent)))
}

// asksInOrder with addresses of both families, as they are told to containerd 1.x in two forms.
func (v version) asksInOrder(ctx context.Context) {
	GinkgoHelper()
	f := newFronts(ctx)
	v4, v6 := f.Addresses[0], f.Addresses[1]
	upstream, cache := f.serve(stack.Front{Name: "upstream", Address: v4, TLS: true}, true), f.serve(stack.Front{Name: "cache", Address: v4}, false)
	one, two := f.serve(stack.Front{Name: "one", Address: v6}, false), f.serve(stack.Front{Name: "two", Address: v4, TLS: true}, false)
	three := f.serve(stack.Front{Name: "three", Address: v6, Root: "/hub"}, false)
	host := strings.TrimPrefix(upstream.URL, "https://")
	n := v.boot(ctx, situation{files: files{rootConfig: cri, systemCA: string(upstream.CA)}})
	DeferCleanup(n.tell, NodeTimeout(patience))
	for _, repository := range []string{"mirrors/first", "mirrors/second"} {
		_, err := registry.Push(ctx, repository)
		Expect(err).NotTo(HaveOccurred())
	}
	n.install(ctx, payload.Values{
		Caches: []payload.Cache{{Upstream: host, Endpoint: cache.URL}},
		Mirrors: []payload.Mirror{{Upstream: host, Hosts: []payload.MirrorHost{
			{URL: one.URL, Capabilities: []string{"pull"}},
			{URL: two.URL, Capabilities: []string{"pull", "resolve"}, CA: two.CA},
			{URL: three.URL + "/hub", Capabilities: []string{"pull"}, OverridePath: true},
		}}},
	})
	Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(Equal(host + " active"))
	f.expectOrder(ctx, n, host, "mirrors/first", []string{"cache", "two", "upstream"}, []string{"cache", "one", "two", "three", "upstream"})

	cache.Close()
	Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(ContainSubstring(host + " waiting"))
	f.expectOrder(ctx, n, host, "mirrors/second", []string{"two", "upstream"}, []string{"one", "two", "three", "upstream"})
	n.run(ctx, "systemctl", "stop", payload.UnitName)
	Expect(n.hosts(ctx)).To(ConsistOf(stack.HostsFile(foreignHost)), "hosts.toml and the certificates that it names are gone")
}

// pullsFromMirrorsAlone: the upstream does not exist.
func (v version) pullsFromMirrorsAlone(ctx context.Context) {
	GinkgoHelper()
	f := newFronts(ctx)
	first := f.serve(stack.Front{Name: "first", Address: f.Addresses[0], TLS: true}, true)
	second := f.serve(stack.Front{Name: "second", Address: f.Addresses[0]}, true)
	_, err := registry.Push(ctx, "mirrors/alone")
	Expect(err).NotTo(HaveOccurred())
	n := v.boot(ctx, situation{files: root(cri)})
	DeferCleanup(n.tell, NodeTimeout(patience))
	both := []string{"pull", "resolve"}
	n.install(ctx, payload.Values{Mirrors: []payload.Mirror{
		{Upstream: "alive.example", Hosts: []payload.MirrorHost{{URL: first.URL, Capabilities: both, CA: first.CA}, {URL: second.URL, Capabilities: both}}},
		{Upstream: "dead.example", Hosts: []payload.MirrorHost{{URL: nowhere, Capabilities: both}, {URL: second.URL, Capabilities: both}}},
	}})
	Expect(n.hosts(ctx)).To(HaveLen(4), "beside the foreign one two of hosts.toml and a CA, as soon as the unit's start has returned")
	Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(Equal("alive.example static\ndead.example static"))
	f.expectOrder(ctx, n, "alive.example", "mirrors/alone", []string{"first"}, []string{"first"})
	if v.major == 1 {
		return // it knows no dial_timeout
	}
	_, err = registry.Push(ctx, "mirrors/dead")
	Expect(err).NotTo(HaveOccurred())
	f.Forget()
	began := time.Now()
	Expect(registry.Pull(ctx, n.Node, "dead.example/mirrors/dead:v1")).To(Succeed())
	took := time.Since(began)
	AddReportEntry("pull with a dead mirror", took.String())
	Expect(took).To(And(BeNumerically(">", time.Second), BeNumerically("<", deadPull)))
	Expect(f.Orders()).To(HaveEach(Equal([]string{"second"})))
}
