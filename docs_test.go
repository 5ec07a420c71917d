package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
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
