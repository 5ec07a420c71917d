package monitoring_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
)

// metrics are the names in docs/metrics.md, with what histograms are stored as.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	g.Expect(err).NotTo(HaveOccurred())
	names := map[string]bool{}
	for _, match := range regexp.MustCompile("`((?:capi_)?registry_[a-z_]+)[`{]").FindAllStringSubmatch(string(page), -1) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			names[match[1]+suffix] = true
		}
	}
	g.Expect(len(names)).To(BeNumerically(">", 100))
	return names
}
