package cloudinit

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// node is a directory that stands for the root of a node, with fakes of gzip and systemctl.
type node struct {
	*WithT
	dir        func() string // another directory of the test
	root, fake string
}

func newNode(t *testing.T) *node {
	g := NewWithT(t)
	fake, err := filepath.Abs(filepath.Join("testdata", "bin"))
	g.Expect(err).NotTo(HaveOccurred())
	return &node{g, t.TempDir, t.TempDir(), fake}
}

func (n *node) write(f payload.File) {
	path := filepath.Join(n.root, f.Path)
	n.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
	n.Expect(os.WriteFile(path, f.Content, f.Mode)).To(Succeed())
}

func (n *node) run(command ...string) {
	n.runWith("", command...)
}

func (n *node) runWith(stdin string, command ...string) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = []string{"CRC_ROOT=" + n.root, "PATH=" + n.fake + ":/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	n.Expect(err).NotTo(HaveOccurred(), string(out))
	n.Expect(string(out)).To(BeEmpty())
}

// expect wants these files and no other, and the unit to be started once they were there.
func (n *node) expect(files []payload.File) {
	calls := filepath.Join(n.root, "systemctl.log")
	log, err := os.ReadFile(calls)
	n.Expect(err).NotTo(HaveOccurred())
	n.Expect(string(log)).To(Equal("enable --now " + unit + " " + unitLine(files) + "\n"))
	n.Expect(os.Remove(calls)).To(Succeed())
	n.expectFiles(files)
}

func unitLine(files []payload.File) string {
	for _, f := range files {
		if strings.HasSuffix(f.Path, unit) {
			line, _, _ := bytes.Cut(f.Content, []byte("\n"))
			return string(line)
		}
	}
	return ""
}

func (n *node) expectFiles(files []payload.File) {
	found := map[string]payload.File{}
	n.Expect(filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		path = strings.TrimPrefix(path, n.root)
		found[path] = payload.File{Path: path, Mode: info.Mode(), Content: content}
		return err
	})).To(Succeed())
	n.Expect(found).To(HaveLen(len(files)))
	for _, f := range files {
		n.Expect(string(found[f.Path].Content)).To(Equal(string(f.Content)), f.Path)
		n.Expect(found[f.Path].Mode).To(Equal(f.Mode), f.Path)
	}
}

func TestBundle_is_ours_wherever_it_stands(t *testing.T) {
	NewWithT(t).Expect(payload.Owned(payload.ArchivePath)).To(BeTrue())
}

func TestBundle_installer_writes_every_file_under_every_shell(t *testing.T) {
	files := append(someFiles(),
		payload.File{Path: "/a/no-line-break", Mode: 0o600, Content: []byte("x")},
		payload.File{Path: "/a/empty", Mode: 0o644, Content: []byte{}},
		payload.File{Path: "/a/bytes", Mode: 0o640, Content: append(noise(5000), 0, '\n')},
		payload.File{Path: "/a/shell", Mode: 0o644, Content: []byte("$(touch x) `touch y` \\\n\\\nEOFF\n EOF\n'\"\r\n\t\n")},
		payload.File{Path: "/a/own-end", Mode: 0o644, Content: []byte("EOF\nrm -rf x\n")},
		payload.File{Path: "/a b/'it is'", Mode: 0o644, Content: []byte("x\n")},
		payload.File{Path: "/a/registry.example:5443", Mode: 0o644, Content: []byte("x\n")},
	)
	b, err := newBundle(files, unit)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	installer, err := gunzip(b.archive)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, shell := range map[string][]string{"dash": {"dash"}, "bash": {"bash", "--posix"}, "busybox": {"busybox", "sh"}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write(payload.File{Path: payload.ArchivePath, Mode: 0o644, Content: b.archive})
			n.write(payload.File{Path: files[0].Path, Mode: 0o600, Content: []byte("old")})
			n.runWith(string(installer), shell...)
			n.expectFiles(files)
		})
	}
}

func TestBundle_installer_does_nothing_when_it_is_cut_short(t *testing.T) {
	g := NewWithT(t)
	installer, err := gunzip(someBundle(t).archive)
	g.Expect(err).NotTo(HaveOccurred())
	for _, short := range []int{2, 30, len(installer) / 2} {
		n := newNode(t)
		cmd := exec.Command("/bin/sh")
		cmd.Env, cmd.Stdin = []string{"CRC_ROOT=" + n.root}, bytes.NewReader(installer[:len(installer)-short])
		g.Expect(cmd.Run()).NotTo(Succeed())
		n.expectFiles(nil)
	}
}

func TestBundle_script_does_the_same(t *testing.T) {
	b, files := someBundle(t), someFiles()
	for name, shell := range map[string][]string{"dash": {"dash"}, "busybox": {"busybox", "sh"}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.runWith(b.script, shell...)
			n.expect(files)
		})
	}
}

func TestCommand_never_fails(t *testing.T) {
	n := newNode(t)
	cmd := exec.Command("/bin/sh", "-c", payload.InstallCommand(unit))
	cmd.Env = []string{"CRC_ROOT=" + n.root, "PATH=/nowhere"}
	out, err := cmd.CombinedOutput()
	n.Expect(err).NotTo(HaveOccurred(), string(out))
}
