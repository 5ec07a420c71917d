package cache_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

// TestTheDocumentedConfigurationIsTheDefault keeps docs/cache.md true, which shows every setting of pullthrough with its default.
func TestTheDocumentedConfigurationIsTheDefault(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cache.md"))
	g.Expect(err).NotTo(HaveOccurred())
	var documented string
	for _, b := range docs.Parse("docs/cache.md", string(page)).Blocks {
		if b.Language == "yaml" {
			documented = b.Text
		}
	}
	g.Expect(documented).To(ContainSubstring("\npullthrough:"))
	documented = strings.ReplaceAll(documented, "/var/lib/registry", filepath.Join(t.TempDir(), "store"))
	without, _, _ := strings.Cut(documented, "\npullthrough:")
	shown, given := read(g, t.TempDir(), documented), read(g, t.TempDir(), without+"\n")
	g.Expect(shown.Pullthrough).To(Equal(given.Pullthrough))
	g.Expect(shown.HTTP.Addr).To(Equal(":5000"))
}

func read(g *WithT, dir, content string) *cache.Config {
	path := filepath.Join(dir, "config.yml")
	g.Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
	config, err := cache.Load(path)
	g.Expect(err).NotTo(HaveOccurred())
	return config
}
