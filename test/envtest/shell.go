package envtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
)

// Shell runs commands as a user of the API server would type them, in a directory of their own that has the config folder of this
// repository. kubectl is the real one; its namespace is the one given.
type Shell struct {
	// Dir is where commands run.
	Dir string

	environment []string
}

// Shell returns one, with the rights of an administrator.
func (e *Environment) Shell(t testing.TB, namespace string) *Shell {
	t.Helper()
	g := gomega.NewWithT(t)
	root, err := repositoryRoot()
	g.Expect(err).NotTo(gomega.HaveOccurred())
	s := &Shell{Dir: t.TempDir()}
	g.Expect(os.Symlink(filepath.Join(root, "config"), filepath.Join(s.Dir, "config"))).To(gomega.Succeed())
	kubeconfig := filepath.Join(s.Dir, "kubeconfig")
	g.Expect(os.WriteFile(kubeconfig, e.kubeconfigFor(g, namespace), 0o600)).To(gomega.Succeed())
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if binaries == "" {
		binaries = assets(root)
	}
	s.environment = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+binaries+":"+os.Getenv("PATH"))
	return s
}

func (e *Environment) kubeconfigFor(g *gomega.WithT, namespace string) []byte {
	config, err := clientcmd.Load(e.kubeconfig)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	for _, c := range config.Contexts {
		c.Namespace = namespace
	}
	content, err := clientcmd.Write(*config)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	return content
}

// Run returns what the command writes to standard output; the error has what it writes to standard error.
func (s *Shell) Run(t testing.TB, command string) (string, error) {
	t.Helper()
	var out, messages bytes.Buffer
	c := exec.CommandContext(t.Context(), "sh", "-euc", command)
	c.Dir, c.Env, c.Stdout, c.Stderr = s.Dir, s.environment, &out, &messages
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w", bytes.TrimSpace(messages.Bytes()), err)
	}
	return out.String(), nil
}
