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
	root, fake, bin string
	shell           []string
	log             *safeBuilder
	process         *exec.Cmd
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
	bin, err := filepath.Abs("testdata/bin")
	n := &node{WithT: NewWithT(t), root: t.TempDir(), fake: t.TempDir(), bin: bin, shell: shell, log: &safeBuilder{}}
	n.Expect(err).NotTo(HaveOccurred())
	n.install(caches...)
	for _, dir := range []string{"up", "once"} {
		n.Expect(os.Mkdir(filepath.Join(n.fake, dir), 0o755)).To(Succeed())
	}
	n.answer("dump", dump2)
	n.answer("path", DefaultCertsDir)
	t.Cleanup(func() {
		if n.process != nil && n.process.ProcessState == nil {
			n.Expect(n.process.Process.Kill()).To(Succeed())
		}
	})
	return n
}

func (n *node) install(caches ...Cache) { n.installAll(Values{Caches: caches}) }

// installAll writes files; what is there already and is not among them stays.
func (n *node) installAll(v Values) {
	files, err := Files(v)
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

func (n *node) remove(path string) { n.Expect(os.RemoveAll(n.path(path))).To(Succeed()) }

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

// reason why prepare could not make containerd read the directory.
func (n *node) reason() string { return n.read("run/capi-registry-cache/unsupported") }

// fakesOf leaves only these fakes, so that the others are the programs of this machine.
func (n *node) fakesOf(names ...string) {
	dir := filepath.Join(n.fake, "bin")
	n.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
	for _, name := range names {
		n.Expect(os.Symlink(filepath.Join(n.bin, name), filepath.Join(dir, name))).To(Succeed())
	}
	n.bin = dir
}

func (n *node) command(action string) *exec.Cmd {
	args := slices.Concat(n.shell, []string{n.path(scriptPath), action})
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + n.bin + ":" + os.Getenv("PATH"), "ROOT=" + n.root, "FAKE=" + n.fake, "SHELL_OF_NODE=" + strings.Join(n.shell, " ")}
	cmd.Stdout, cmd.Stderr = n.log, n.log
	return cmd
}

func (n *node) start() {
	n.process = n.command("run")
	n.Expect(n.process.Start()).To(Succeed())
}

func (n *node) terminate() { n.Expect(n.process.Process.Signal(syscall.SIGTERM)).To(Succeed()) }

// stop asks the script to end, and expects that it does.
func (n *node) stop() {
	n.terminate()
	n.Expect(n.process.Wait()).To(Succeed())
}

// rounds waits until every upstream was asked some more times.
func (n *node) rounds(count int) {
	asked := func() int { return strings.Count(n.read("curl.log"), "\n") }
	before := asked()
	n.Eventually(asked, "20s", "20ms").Should(BeNumerically(">", before+count))
}

// certs are the files below the certs directory.
func (n *node) certs() []string { return n.files(DefaultCertsDir) }

// temporary files of ours.
func (n *node) temporary() []string {
	return slices.DeleteFunc(n.files(""), func(path string) bool { return !strings.HasSuffix(path, "~") })
}

func (n *node) files(dir string) []string {
	var found []string
	n.Expect(filepath.WalkDir(n.path(dir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, n.path(dir)+"/"))
		}
		return nil
	})).To(Succeed())
	return found
}

// What containerd 2.x and 1.x say about themselves, as far as it matters; the fake puts config_path where the @ is.
const (
	dump2 = `version = 4
state = '/run/containerd'
imports = ['/etc/containerd/conf.d/*.toml']
[plugins]
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'registry.k8s.io/pause:3.10'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '@'
  [plugins.'io.containerd.transfer.v1.local']
    config_path = '/elsewhere'
`
	dump1 = `state = "/run/containerd"
version = 2
[plugins]
  [plugins."io.containerd.gc.v1.scheduler"]
    deletion_threshold = 0
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.10"
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "@"
      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]
  [plugins."io.containerd.internal.v1.opt"]
    path = "/opt/containerd"
`
)

func eachShell(t *testing.T, test func(t *testing.T, shell []string)) {
	t.Helper()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, shell)
		})
	}
}
