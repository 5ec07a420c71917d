package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
)

// root is the repository, seen from here.
const root = "../.."

// programs are what commands in the documentation begin with, beside paths of this repository. Those of kubectl are run by test/envtest.
var programs = []string{"cat", "clusterctl", "curl", "docker", "export", "go", "journalctl", "kubectl", "ln", "make", "skopeo", "systemctl"}

func pages(t *testing.T) []docs.Page {
	t.Helper()
	all, err := docs.Read(root)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return all
}

func TestDocumentationLinksLeadSomewhere(t *testing.T) {
	all := map[string]docs.Page{}
	for _, p := range pages(t) {
		all[p.Path] = p
	}
	for _, p := range all {
		for _, l := range p.Links {
			if strings.Contains(l.Text, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(l.Text, "#")
			target := p.Path
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(p.Path), file))
			}
			if !exists(target) {
				t.Errorf("%s: there is no %s", p.Where(l.Line), target)
				continue
			}
			if anchor != "" && !all[target].Anchors[anchor] {
				t.Errorf("%s: %s has no heading #%s", p.Where(l.Line), target, anchor)
			}
		}
	}
}

func TestDocumentationHasEveryPageInItsIndex(t *testing.T) {
	var index docs.Page
	var written []string
	for _, p := range pages(t) {
		switch {
		case p.Path == "docs/README.md":
			index = p
		case filepath.Dir(p.Path) == "docs":
			written = append(written, filepath.Base(p.Path))
		}
	}
	for _, page := range written {
		if !slices.ContainsFunc(index.Links, func(l docs.Span) bool { file, _, _ := strings.Cut(l.Text, "#"); return file == page }) {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}

// TestDocumentationNamesFilesThatExist looks at code spans that begin with a folder of this repository; bin and out are built.
func TestDocumentationNamesFilesThatExist(t *testing.T) {
	g := NewWithT(t)
	entries, err := os.ReadDir(root)
	g.Expect(err).NotTo(HaveOccurred())
	looked := 0
	for _, p := range pages(t) {
		for _, s := range p.Spans {
			folder, _, below := strings.Cut(s.Text, "/")
			isFolder := slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.IsDir() && e.Name() == folder })
			if !below || !isFolder || folder == "bin" || folder == "out" || strings.ContainsAny(s.Text, "<$ ") {
				continue
			}
			looked++
			if found, err := filepath.Glob(filepath.Join(root, s.Text)); err != nil || len(found) == 0 {
				t.Errorf("%s: there is no %s", p.Where(s.Line), s.Text)
			}
		}
	}
	g.Expect(looked).To(BeNumerically(">", 10))
}

func TestDocumentationNamesMakeTargetsThatExist(t *testing.T) {
	targets, looked := makeTargets(t), 0
	check := func(where, command string) {
		words := strings.Fields(command)
		for _, word := range words[slices.Index(words, "make")+1:] {
			looked++
			if !strings.ContainsAny(word, "=*'\"") && !targets[word] {
				t.Errorf("%s: make has no target %s", where, word)
			}
		}
	}
	for _, p := range pages(t) {
		for _, c := range p.Commands() {
			if c.Program() == "make" {
				check(p.Where(c.Line), c.Text)
			}
		}
		for _, s := range p.Spans {
			if strings.HasPrefix(s.Text, "make ") || strings.HasPrefix(s.Text, "sudo make ") {
				check(p.Where(s.Line), s.Text)
			}
		}
	}
	NewWithT(t).Expect(looked).To(BeNumerically(">", 10))
}

func TestDocumentationUsesKnownPrograms(t *testing.T) {
	for _, p := range pages(t) {
		for _, c := range p.Commands() {
			if program := c.Program(); !slices.Contains(programs, program) && !exists(program) {
				t.Errorf("%s: nobody checks commands of %s", p.Where(c.Line), program)
			}
			for word := range strings.FieldsSeq(c.Text) {
				if path, ok := strings.CutPrefix(word, "./"); ok && c.Program() == "go" && !exists(strings.TrimSuffix(path, "...")) {
					t.Errorf("%s: there is no %s", p.Where(c.Line), word)
				}
			}
		}
	}
}

// TestDocumentationKnowsTheNode looks at what is typed on a node: the unit and the directories are those of the payload.
func TestDocumentationKnowsTheNode(t *testing.T) {
	g := NewWithT(t)
	payload := filepath.Join(root, "bootstrap", "payload")
	script, err := os.ReadFile(filepath.Join(payload, "configure-containerd-registries.sh"))
	g.Expect(err).NotTo(HaveOccurred())
	unit, directory := regexp.MustCompile(`configure-[a-z-]+`), regexp.MustCompile(`/(?:etc|run)/[a-z]*-?registry-cache`)
	looked := 0
	for _, p := range pages(t) {
		for _, c := range p.Commands() {
			for _, name := range unit.FindAllString(c.Text, -1) {
				looked++
				g.Expect(filepath.Join(payload, name+".service")).To(BeARegularFile(), p.Where(c.Line))
			}
			for _, name := range directory.FindAllString(c.Text, -1) {
				looked++
				g.Expect(string(script)).To(ContainSubstring("$root"+name+"\n"), p.Where(c.Line))
			}
		}
	}
	g.Expect(looked).To(BeNumerically(">", 4))
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(path)))
	return err == nil
}

func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join(root, "test", "*", "*.mk"))
	g.Expect(err).NotTo(HaveOccurred())
	targets := map[string]bool{}
	for _, file := range append(files, filepath.Join(root, "Makefile")) {
		content, err := os.ReadFile(filepath.Clean(file))
		g.Expect(err).NotTo(HaveOccurred())
		for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):([^=]|$)`).FindAllStringSubmatch(string(content), -1) {
			targets[match[1]] = true
		}
	}
	g.Expect(targets).To(HaveKey("test"))
	return targets
}
