package envtest

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
)

// Install runs an archive of the node payload as a node does, with an empty directory for the root, and returns the files that
// are there then.
func Install(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	g := gomega.NewWithT(t)
	script, err := gzip.NewReader(bytes.NewReader(archive))
	g.Expect(err).NotTo(gomega.HaveOccurred())
	root := t.TempDir()
	shell := exec.Command("/bin/sh")
	shell.Env, shell.Stdin = append(os.Environ(), "CRC_ROOT="+root), script
	output, err := shell.CombinedOutput()
	g.Expect(err).NotTo(gomega.HaveOccurred(), string(output))
	files := map[string]string{}
	g.Expect(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, root)] = string(content)
		return err
	})).To(gomega.Succeed())
	return files
}
