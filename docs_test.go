package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	"k8s.io/component-base/logs"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
)

// TestTheTestsThatTheFaultsNameExist keeps docs/distribution-faults.md true: each fault names the tests that show it.
func TestTheTestsThatTheFaultsNameExist(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("docs", "distribution-faults.md"))
	g.Expect(err).NotTo(HaveOccurred())
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(page), -1)
	g.Expect(len(named)).To(BeNumerically(">", 20))
	known := testFunctions(t)
	for _, name := range named {
		g.Expect(known).To(HaveKey(name[1]))
	}
}

// testFunctions are the names of all tests of this module.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names, function := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(t `)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path == "bin" {
			return fs.SkipDir // what was built
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(filepath.Clean(path))
		for _, match := range function.FindAllStringSubmatch(string(content), -1) {
			names[match[1]] = true
		}
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return names
}

// TestDocumentationNamesFlagsThatExist looks at code spans that begin with two dashes: they are flags of the manager.
func TestDocumentationNamesFlagsThatExist(t *testing.T) {
	g := NewWithT(t)
	known := managerFlags(g)
	g.Expect(known.Lookup("leader-elect")).NotTo(BeNil())
	pages, err := docs.Read(".")
	g.Expect(err).NotTo(HaveOccurred())
	looked := 0
	for _, p := range pages {
		if p.Path == "docs/kubectl.md" {
			continue // its flags are those of the plugin, whose tests look at them
		}
		for _, s := range p.Spans {
			name, isFlag := strings.CutPrefix(s.Text, "--")
			name, _, _ = strings.Cut(strings.Fields(name + " ")[0], "=")
			if !isFlag || slices.Contains(flagsOfOthers, name) {
				continue
			}
			looked++
			if known.Lookup(name) == nil {
				t.Errorf("%s: the manager has no flag --%s", p.Where(s.Line), name)
			}
		}
	}
	g.Expect(looked).To(BeNumerically(">", 5))
}

// flagsOfOthers are flags that the documentation names without the program that has them.
var flagsOfOthers = []string{"kubeconfig", "cascade", "from-directory", "include-crd", "no-block"} // kubectl, clusterctl, systemctl

func managerFlags(g *WithT) *pflag.FlagSet {
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = args[:1]
	known := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	g.Expect((&options{logs: logs.NewOptions()}).parse(known)).To(Succeed())
	return known
}
