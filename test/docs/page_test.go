package docs

import (
	"testing"

	. "github.com/onsi/gomega"
)

const page = "# A page, with `code`\n" +
	"\n" +
	"See [other](other.md#part), [two\nlines](two.md) and `[no](link)`, `--flag`.\n" +
	"```yaml\nkind: A # [no](link) `span`\n```\n" +
	"## Part\n## Part\n### What's [a link](x.md)?\n" +
	"```sh\n" +
	"make test   # a comment\n" +
	"\n" +
	"# only a comment\n" +
	"sudo PATH=x kubectl get a |\n  grep '#x'\n" +
	"kubectl apply -f - <<'EOF'\nkind: B # stays\nEOF\n" +
	"cat \\\n  file\n" +
	"```\n"

func TestParse(t *testing.T) {
	g := NewWithT(t)
	p := Parse("docs/a.md", page)
	g.Expect(p.Blocks).To(HaveLen(2))
	g.Expect(p.Blocks[0]).To(Equal(Block{Line: 5, Language: "yaml", Text: "kind: A # [no](link) `span`\n"}))
	g.Expect(p.Spans).To(Equal([]Span{{1, "code"}, {4, "[no](link)"}, {4, "--flag"}}))
	g.Expect(p.Links).To(Equal([]Span{{3, "other.md#part"}, {4, "two.md"}, {10, "x.md"}}))
	g.Expect(p.Anchors).To(Equal(map[string]bool{"a-page-with-code": true, "part": true, "part-1": true, "whats-a-link": true}))
	g.Expect(p.Where(3)).To(Equal("docs/a.md:3"))
}

func TestCommands(t *testing.T) {
	g := NewWithT(t)
	commands := Parse("docs/a.md", page).Commands()
	g.Expect(commands).To(Equal([]Command{
		{12, "make test"},
		{15, "sudo PATH=x kubectl get a |\n  grep '#x'"},
		{17, "kubectl apply -f - <<'EOF'\nkind: B # stays\nEOF"},
		{20, "cat \\\n  file"},
	}))
	var programs []string
	for _, c := range commands {
		programs = append(programs, c.Program())
	}
	g.Expect(programs).To(Equal([]string{"make", "kubectl", "kubectl", "cat"}))
}

func TestReadFindsThePages(t *testing.T) {
	g := NewWithT(t)
	pages, err := Read("../..")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pages).To(ContainElements(HaveField("Path", "README.md"), HaveField("Path", "docs/nodes.md"), HaveField("Path", "docs/decisions/README.md")))
}
