package payload

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

// shells that the script has to run under.
var shells = map[string][]string{"dash": {"dash"}, "busybox": {"busybox", "sh"}}

// node is a directory that stands for the root of a node, with fakes of curl, containerd, systemctl and sleep.
type node struct {
	*WithT
	root, fake string
	shell      []string
	log        *safeBuilder
	process    *exec.Cmd
}

type safeBuilder struct {
	sync.Mutex
	strings.Builder
}

func (b *safeBuilder) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Builder.Write(p)
}

func (b *safeBuilder) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Builder.String()
}

func newNode(t *testing.T, shell []string, caches ...Cache) *node {
	t.Helper()
	n := &node{WithT: NewWithT(t), root: t.TempDir(), fake: t.TempDir(), shell: shell, log: &safeBuilder{}}
	n.install(caches...)
	for _, dir := range []string{"up", "once"} {
		n.Expect(os.Mkdir(filepath.Join(n.fake, dir), 0o755)).To(Succeed())
	}
	n.answer("version", "containerd github.com/containerd/containerd/v2 v2.4.2 abc\n")
	n.answer("dump", dump(""))
	t.Cleanup(func() {
		if n.process != nil && n.process.ProcessState == nil {
			n.Expect(n.process.Process.Kill()).To(Succeed())
		}
	})
	return n
}

func (n *node) install(caches ...Cache) {
	files, err := Files(Values{Caches: caches})
	n.Expect(err).NotTo(HaveOccurred())
	for _, f := range files {
		n.write(f.Path, string(f.Content))
	}
}

// write a file of the node, as a whole.
func (n *node) write(path, content string) {
	path = n.path(path)
	n.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
	n.Expect(os.WriteFile(path+".new", []byte(content), 0o644)).To(Succeed())
	n.Expect(os.Rename(path+".new", path)).To(Succeed())
}

// answer is what a fake goes by.
func (n *node) answer(name, content string) {
	n.Expect(os.WriteFile(filepath.Join(n.fake, name), []byte(content), 0o644)).To(Succeed())
}

func (n *node) silence(name string) { n.Expect(os.Remove(filepath.Join(n.fake, name))).To(Succeed()) }

func (n *node) path(path string) string { return filepath.Join(n.root, path) }

// read a file of the node or of a fake, "" if there is none.
func (n *node) read(path string) string {
	for _, dir := range []string{n.root, n.fake} {
		if b, err := os.ReadFile(filepath.Join(dir, path)); err == nil {
			return string(b)
		}
	}
	return ""
}

func (n *node) state() string { return n.read("run/capi-registry-cache/state") }

func (n *node) command(action string) *exec.Cmd {
	bin, err := filepath.Abs("testdata/bin")
	n.Expect(err).NotTo(HaveOccurred())
	args := slices.Concat(n.shell, []string{n.path(scriptPath), action})
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "ROOT=" + n.root, "FAKE=" + n.fake}
	cmd.Stdout, cmd.Stderr = n.log, n.log
	return cmd
}

func (n *node) start() {
	n.process = n.command("run")
	n.Expect(n.process.Start()).To(Succeed())
}

// stop asks the script to end, and expects that it does.
func (n *node) stop() {
	n.Expect(n.process.Process.Signal(syscall.SIGTERM)).To(Succeed())
	n.Expect(n.process.Wait()).To(Succeed())
}

// rounds waits until every upstream was asked some more times.
func (n *node) rounds(count int) {
	asked := func() int { return strings.Count(n.read("curl.log"), "\n") }
	before := asked()
	n.Eventually(asked, "20s", "20ms").Should(BeNumerically(">", before+count))
}

// files below the certs directory.
func (n *node) certs() []string {
	var found []string
	n.Expect(filepath.WalkDir(n.path(DefaultCertsDir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, n.path(DefaultCertsDir)+"/"))
		}
		return nil
	})).To(Succeed())
	return found
}

func dump(configPath string) string {
	return "version = 4\n[plugins]\n  [plugins.'io.containerd.cri.v1.images'.registry]\n    config_path = '" + configPath +
		"'\n  [plugins.'io.containerd.transfer.v1.local']\n    config_path = '/elsewhere'\n"
}

func eachShell(t *testing.T, test func(t *testing.T, shell []string)) {
	t.Helper()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, shell)
		})
	}
}
