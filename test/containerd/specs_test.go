//go:build e2e

package containerd

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/pelletier/go-toml/v2"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	stateFile   = "/run/capi-registry-cache/state"
	foreignHost = "foreign.example"
	specTimeout = 3 * time.Minute
)

// upstreams that exist only behind the registry, in the order of the state file.
var upstreams = []string{"docker.io", "secret.example", "six.example:5443"}

var _ = Describe("a node", func() {
	for _, v := range versions {
		Describe("with containerd "+v.name, v.labels, func() {
			all := v.situations()
			for _, name := range slices.Sorted(maps.Keys(all)) {
				It("and "+name, func(ctx context.Context) { v.meets(ctx, all[name]) }, NodeTimeout(specTimeout))
			}
			It("which boots again", v.bootsAgain, NodeTimeout(specTimeout))
			It("and commands that change its configuration", v.isChanged, NodeTimeout(2*specTimeout))
		})
	}
})

// meets is what happens on a node with this version in a situation.
func (v version) meets(ctx context.Context, s situation) {
	GinkgoHelper()
	n := v.boot(ctx, s)
	DeferCleanup(n.tell, NodeTimeout(patience))
	before, held := n.settings(ctx), n.configuration(ctx)
	n.install(ctx, values())
	if s.unsupported != "" {
		Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(ContainSubstring("unsupported"))
		n.expectAsBefore(ctx, s.unsupported, held)
		return
	}
	n.expectMirrors(ctx)
	n.expectSettings(ctx, s, before)
	Expect(n.starts(ctx)).To(Equal(startsOf(s)), "one restart at most")
	if s.unchanged {
		Expect(n.configuration(ctx)).To(Equal(held))
	}
	n.expectForgotten(ctx)
}

// bootsAgain: what was done at the first boot is there from the beginning of the next, and outlives a restart by hand.
func (v version) bootsAgain(ctx context.Context) {
	GinkgoHelper()
	n := v.boot(ctx, situation{files: root(cri)})
	DeferCleanup(n.tell, NodeTimeout(patience))
	n.install(ctx, values())
	n.expectMirrors(ctx)
	docker(ctx, "kill", n.Name)
	n.start(ctx)
	n.expectMirrors(ctx)
	Expect(n.starts(ctx)).To(Equal(1))
	n.run(ctx, "systemctl", "restart", "containerd")
	n.expectMirrors(ctx)
	Expect(n.starts(ctx)).To(Equal(2))
	loaded := n.unitsLoaded(ctx)
	n.run(ctx, "systemctl", "restart", payload.UnitName)
	n.expectMirrors(ctx)
	Expect(n.unitsLoaded(ctx)).To(Equal(loaded), "a reload may take devices from running containers")
}

// unitsLoaded is when systemd has read its unit files.
func (n *node) unitsLoaded(ctx context.Context) string {
	GinkgoHelper()
	return n.run(ctx, "systemctl", "show", "--property", "UnitsLoadStartTimestampMonotonic")
}

func startsOf(s situation) int {
	if s.unchanged {
		return 1
	}
	return 2
}

func (v version) boot(ctx context.Context, s situation) *node {
	GinkgoHelper()
	all := files{stack.HostsFile(foreignHost): foreignHosts()}
	maps.Copy(all, s.files)
	if s.generated {
		generated, err := exec.CommandContext(ctx, v.program, "config", "default").Output()
		Expect(err).NotTo(HaveOccurred())
		all[rootConfig] = string(generated)
	}
	absolute, err := filepath.Abs(v.program)
	Expect(err).NotTo(HaveOccurred())
	mounts := map[string]string{program: absolute}
	if s.readOnly != "" {
		local := filepath.Join(GinkgoT().TempDir(), "config.toml")
		Expect(os.WriteFile(local, []byte(s.readOnly), 0o644)).To(Succeed())
		mounts[flatcarConfig] = local
		all["/etc/systemd/system/containerd.service.d/10-flatcar.conf"] = flatcarService
	}
	return boot(ctx, all, mounts)
}

// values name the registry in every way that caches are named.
func values() payload.Values {
	return payload.Values{Caches: []payload.Cache{
		{Upstream: upstreams[0], Endpoint: registry.PlainURLs[0]},
		{Upstream: upstreams[1], Endpoint: registry.SecretURL, CA: registry.CA},
		{Upstream: upstreams[2], Endpoint: registry.PlainURLs[1]},
		{Upstream: foreignHost, Endpoint: registry.PlainURLs[0]},
	}}
}

func foreignHosts() string { return "[host.\"" + registry.PlainURLs[0] + "\"]\n" }

func reference(upstream string) string { return upstream + "/" + repository + ":v1" }

// expectMirrors pulls from every upstream, and looks at who was asked.
func (n *node) expectMirrors(ctx context.Context) {
	GinkgoHelper()
	Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(Equal(strings.Join([]string{
		"docker.io active",
		"foreign.example conflict " + stack.HostsFile(foreignHost) + " is not ours",
		"secret.example active",
		"six.example:5443 active",
	}, "\n")))
	for _, upstream := range append([]string{foreignHost}, upstreams...) {
		since := time.Now()
		Expect(registry.Pull(ctx, n.Node, reference(upstream))).To(Succeed())
		Expect(asked(ctx, since, upstream)).NotTo(BeEmpty(), "requests for %s at the mirror", upstream)
	}
}

// asked are the requests of a pull from an upstream that arrived at the mirror.
func asked(ctx context.Context, since time.Time, upstream string) []stack.Request {
	GinkgoHelper()
	requests, err := registry.Requests(ctx, since, repository)
	Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(requests, func(r stack.Request) bool {
		return !strings.HasSuffix(strings.ReplaceAll(r.Path, "%3A", ":"), "ns="+upstream)
	})
}

// expectSettings: containerd reads one directory more than before, and that is all.
func (n *node) expectSettings(ctx context.Context, s situation, before map[string]any) {
	GinkgoHelper()
	after := n.settings(ctx)
	Expect(configPaths(after)).To(ConsistOf(payload.DefaultCertsDir))
	forget(before)
	forget(after)
	Expect(after).To(Equal(before))
	printed, err := toml.Marshal(after)
	Expect(err).NotTo(HaveOccurred())
	if s.settings {
		Expect(string(printed)).To(And(ContainSubstring(sandboxImage), ContainSubstring("SystemdCgroup = true")))
	}
}

// expectAsBefore: containerd runs with the configuration that it had, and the state says why.
func (n *node) expectAsBefore(ctx context.Context, reason string, held files) {
	GinkgoHelper()
	state := strings.Split(n.read(ctx, stateFile), "\n")
	Expect(state).To(HaveLen(len(upstreams) + 1))
	Expect(state).To(HaveEach(And(ContainSubstring(" unsupported "), ContainSubstring(reason))))
	Expect(n.configuration(ctx)).To(Equal(held))
	Expect(n.starts(ctx)).To(Equal(1))
	Expect(n.hosts(ctx)).To(ConsistOf(stack.HostsFile(foreignHost)))
}

// expectForgotten: without the unit, only what is not ours is left.
func (n *node) expectForgotten(ctx context.Context) {
	GinkgoHelper()
	Expect(n.hosts(ctx)).To(HaveLen(len(upstreams)+2), "three of hosts.toml, a CA, and what is not ours")
	n.run(ctx, "systemctl", "stop", payload.UnitName)
	Expect(n.hosts(ctx)).To(ConsistOf(stack.HostsFile(foreignHost)))
	Expect(n.read(ctx, stack.HostsFile(foreignHost))).To(Equal(strings.TrimSpace(foreignHosts())))
}

// hosts are the files that tell containerd of mirrors.
func (n *node) hosts(ctx context.Context) []string {
	GinkgoHelper()
	return strings.Fields(n.run(ctx, "find", payload.DefaultCertsDir, "-type", "f"))
}

// configuration is all that is written about containerd.
func (n *node) configuration(ctx context.Context) files {
	GinkgoHelper()
	found := files{}
	const find = "find /etc/containerd " + flatcarConfig + " -name '*.toml*' -not -path '*/certs.d/*' 2>/dev/null || :"
	for _, path := range strings.Fields(n.run(ctx, "sh", "-c", find)) {
		found[path] = n.read(ctx, path)
	}
	return found
}
