//go:build e2e

package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"path"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	nodeLabel = "io.capi-registry-cache.containerd=node"
	nodeImage = "capi-registry-cache/containerd-node:dev"
	nodeName  = name + "-node"

	rootConfig = "/etc/containerd/config.toml"
	dropIn     = "/etc/containerd/conf.d/99-capi-registry-cache.toml"
	program    = "/usr/local/bin/containerd"

	patience = 60 * time.Second
)

// buildNodeImage makes a node without a configuration of containerd and without a kubelet.
func buildNodeImage(ctx context.Context) {
	GinkgoHelper()
	const dockerfile = "FROM " + stack.NodeImage + "\nRUN rm " + rootConfig + " && systemctl disable kubelet node-network\n"
	_, err := stack.Docker(ctx, strings.NewReader(dockerfile), "build", "-q", "--network", "none", "-t", nodeImage, "-")
	Expect(err).NotTo(HaveOccurred())
}

// node is a machine that boots with the files that it was given.
type node struct {
	stack.Node
	booted time.Time
}

// files are what a node has before it boots, by absolute path.
type files map[string]string

// boot starts a node with a version of containerd and these files. A path with a program or a file of this machine in
// mounts cannot be written there.
func boot(ctx context.Context, files files, mounts map[string]string) *node {
	GinkgoHelper()
	// As kind creates its nodes, but without its entrypoint, and with an empty store: that of the image is of another
	// version.
	args := []string{
		"create", "--name", nodeName, "--hostname", nodeName, "--label", nodeLabel, "--network", name, "--privileged",
		"--cgroupns=private", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/var/lib/containerd", "--entrypoint", "/sbin/init",
	}
	for target, source := range mounts {
		args = append(args, "--volume", source+":"+target+":ro")
	}
	n := &node{Node: stack.Node{Name: nodeName}}
	docker(ctx, append(args, nodeImage)...)
	DeferCleanup(func(ctx context.Context) { docker(ctx, "rm", "-f", "-v", nodeName) }, NodeTimeout(patience))
	n.put(ctx, files)
	n.start(ctx)
	return n
}

func (n *node) put(ctx context.Context, files files) {
	GinkgoHelper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for path, content := range files {
		Expect(w.WriteHeader(&tar.Header{Name: path, Mode: mode(path), Size: int64(len(content))})).To(Succeed())
		_, err := w.Write([]byte(content))
		Expect(err).NotTo(HaveOccurred())
	}
	Expect(w.Close()).To(Succeed())
	_, err := stack.Docker(ctx, &archive, "cp", "-", n.Name+":/")
	Expect(err).NotTo(HaveOccurred())
}

func mode(file string) int64 {
	if path.Ext(file) == ".sh" {
		return 0o755
	}
	return 0o644
}

// start boots the node, and waits until containerd runs.
func (n *node) start(ctx context.Context) {
	GinkgoHelper()
	n.booted = time.Now().Truncate(time.Second)
	docker(ctx, "start", n.Name)
	Eventually(func() error {
		_, err := n.Exec(ctx, "systemctl", "is-active", "containerd")
		return err
	}).WithContext(ctx).WithTimeout(patience).Should(Succeed(), "containerd runs")
}

func (n *node) run(ctx context.Context, args ...string) string {
	GinkgoHelper()
	printed, err := n.Exec(ctx, args...)
	Expect(err).NotTo(HaveOccurred())
	return printed
}

// install does what bootstrap data does.
func (n *node) install(ctx context.Context, v payload.Values) {
	GinkgoHelper()
	list, err := payload.Files(v)
	Expect(err).NotTo(HaveOccurred())
	all := files{}
	for _, f := range list {
		all[f.Path] = string(f.Content)
	}
	n.put(ctx, all)
	n.run(ctx, "systemctl", "enable", "--now", payload.UnitName)
}

// read returns "" for a file that does not exist.
func (n *node) read(ctx context.Context, path string) string {
	GinkgoHelper()
	exists, err := n.HasFile(ctx, path)
	Expect(err).NotTo(HaveOccurred())
	if !exists {
		return ""
	}
	return n.run(ctx, "cat", path)
}

// starts of containerd since the node booted.
func (n *node) starts(ctx context.Context) int {
	GinkgoHelper()
	entries, err := n.Journal(ctx, "containerd", n.booted)
	Expect(err).NotTo(HaveOccurred())
	return len(slices.DeleteFunc(entries, func(e stack.JournalEntry) bool {
		return !strings.Contains(e.Message, "containerd successfully booted")
	}))
}

// tell leaves what happened on the node in the report of a spec that failed.
func (n *node) tell(ctx context.Context) {
	if !CurrentSpecReport().Failed() {
		return
	}
	for _, unit := range []string{payload.UnitName, "containerd"} {
		journal, _ := n.Exec(ctx, "journalctl", "--no-pager", "--unit", unit)
		AddReportEntry(unit, journal)
	}
}
