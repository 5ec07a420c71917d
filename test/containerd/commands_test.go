//go:build e2e

package containerd

import (
	"context"
	"path"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// What commands of a bootstrap do to the configuration of containerd after the unit has seen to it.
const (
	ownTable      = registryTable + "  config_path = \"/etc/containerd/certs.d\"\n"
	appendTable   = "cat >>" + rootConfig + " <<'EOF'\n" + ownTable + "EOF\n"
	appendGarbage = "echo '[plugins' >>" + rootConfig + "\n"
	appendMirrors = "cat >>" + rootConfig + " <<'EOF'\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\n  endpoint = [\"http://10.0.0.1\"]\nEOF\n"
	overwrite     = "containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >" + rootConfig + "\n"
	writeCRI      = "cat >" + rootConfig + " <<'EOF'\n" + cri + "EOF\n"
	restart       = "systemctl reset-failed containerd\nsystemctl restart containerd\n"
)

// isChanged: whatever commands do to the configuration, containerd starts if it would start without us, and uses the mirrors if it may.
func (v version) isChanged(ctx context.Context) {
	GinkgoHelper()
	n := v.boot(ctx, situation{files: root(cri)})
	DeferCleanup(n.tell, NodeTimeout(patience))
	n.install(ctx, values())

	By("appending the table that is there")
	n.run(ctx, "sh", "-ec", appendTable+restart)
	n.expectMirrors(ctx)
	Expect(n.starts(ctx)).To(Equal(3), "it started at once")

	By("overwriting it")
	n.run(ctx, "sh", "-ec", overwrite+restart)
	n.expectMirrors(ctx)
	Expect(configPaths(n.settings(ctx))).To(ConsistOf(payload.DefaultCertsDir))
	Expect(n.read(ctx, rootConfig)).To(ContainSubstring("SystemdCgroup = true"))

	By("appending what is no TOML")
	n.run(ctx, "sh", "-ec", appendGarbage)
	written := n.read(ctx, rootConfig)
	_, err := n.Exec(ctx, "sh", "-ec", restart)
	Expect(err).To(HaveOccurred())
	Expect(n.read(ctx, rootConfig)).To(Equal(written))
	n.run(ctx, "sh", "-ec", writeCRI+restart)
	n.expectMirrors(ctx)

	By("appending mirrors, which exclude the directory")
	since := time.Now().Truncate(time.Second)
	n.run(ctx, "sh", "-ec", appendMirrors+restart)
	Eventually(n.read).WithContext(ctx).WithArguments(stateFile).WithTimeout(patience).Should(ContainSubstring("unsupported registry.mirrors"))
	n.expectNoComplaint(ctx, since)

	By("booting again with the table appended, and no restart before that")
	n.run(ctx, "sh", "-ec", writeCRI+restart)
	n.expectMirrors(ctx)
	n.run(ctx, "sh", "-ec", appendTable)
	docker(ctx, "kill", n.Name)
	n.start(ctx)
	n.expectMirrors(ctx)

	Expect(n.read(ctx, rootConfig)).To(Equal(cri + strings.TrimSpace(ownTable)))

	By("clearing the node")
	n.run(ctx, "sh", "-ec", writeCRI+restart)
	n.expectMirrors(ctx)
	n.clear(ctx)
	Expect(n.read(ctx, rootConfig)).To(Equal(strings.TrimSpace(cri)))
	n.run(ctx, "sh", "-ec", restart)
	Expect(configPaths(n.settings(ctx))).NotTo(ContainElement(payload.DefaultCertsDir))
	Expect(n.run(ctx, "systemctl", "cat", "containerd")).NotTo(ContainSubstring("guard"))
}

// expectNoComplaint: the CRI plugin refuses mirrors beside a directory, while containerd itself runs.
func (n *node) expectNoComplaint(ctx context.Context, since time.Time) {
	GinkgoHelper()
	entries, err := n.Journal(ctx, "containerd", since)
	Expect(err).NotTo(HaveOccurred())
	Expect(entries).NotTo(BeEmpty())
	Expect(entries).NotTo(ContainElement(HaveField("Message", ContainSubstring("cannot be set when"))))
}

// clear does what node-sync does when the caches go.
func (n *node) clear(ctx context.Context) {
	GinkgoHelper()
	managed := payload.Managed()
	n.put(ctx, files{managed.Path: string(managed.Content), path.Join(path.Dir(managed.Path), "remove"): ""})
	Eventually(n.HasFile).WithContext(ctx).WithArguments(managed.Path).WithTimeout(patience).Should(BeFalse())
	Eventually(func(g Gomega) {
		_, err := n.Exec(ctx, "systemctl", "is-active", payload.UnitName)
		g.Expect(err).To(HaveOccurred())
	}).WithContext(ctx).WithTimeout(patience).Should(Succeed())
	Expect(strings.Fields(n.run(ctx, "find", payload.DefaultCertsDir, "-type", "f"))).To(ConsistOf(stack.HostsFile(foreignHost)))
}
