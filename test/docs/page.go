package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is one Markdown file.
type Page struct {
	// Path is relative to the root of the repository, with slashes.
	Path string
	// Blocks are the fenced blocks, Spans the code spans outside of them, Links the links outside of both.
	Blocks []Block
	Spans  []Span
	Links  []Span
	// Anchors are the fragments by which links reach the headings.
	Anchors map[string]bool
	// Text is the whole file.
	Text string
}

// Block is a fenced block.
type Block struct {
	// Line is that of the opening fence, counted from 1; Language is what stands behind the fence.
	Line     int
	Language string
	Text     string
}

// Span is a piece of text in a line: what is between backticks, or the target of a link.
type Span struct {
	Line int
	Text string
}

var (
	fence   = regexp.MustCompile("^ *```(.*)$")
	span    = regexp.MustCompile("`[^`\n]+`")
	link    = regexp.MustCompile(`\]\(([^()\s]*)\)`)
	heading = regexp.MustCompile(`^#{1,6} +(.*)$`)
	// notInAnchor is what GitHub leaves out of fragments.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	linkText    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// Read returns README.md and the pages in docs and in test, of the repository at root.
func Read(root string) ([]Page, error) {
	paths := []string{"README.md"}
	for _, dir := range []string{"docs", "test"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(file string, _ fs.DirEntry, err error) error {
			if err == nil && path.Ext(file) == ".md" {
				paths = append(paths, file)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("looking for pages: %w", err)
		}
	}
	var pages []Page
	for _, file := range paths {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file))) //nolint:gosec // a page of this repository
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		pages = append(pages, Parse(file, string(content)))
	}
	return pages, nil
}

// Parse reads one page.
func Parse(file, text string) Page {
	p := Page{Path: file, Text: text, Anchors: map[string]bool{}}
	prose := p.readBlocks(text)
	p.Spans = find(span, prose, func(match []string) string { return strings.Trim(match[0], "`") })
	p.readHeadings(prose)
	// Spans keep their length, and lose what looks like Markdown.
	prose = span.ReplaceAllStringFunc(prose, func(s string) string { return strings.Repeat("x", len(s)) })
	p.Links = find(link, prose, func(match []string) string { return match[1] })
	return p
}

// Where names a place in the page, for messages.
func (p Page) Where(line int) string { return fmt.Sprintf("%s:%d", p.Path, line) }

// readBlocks takes the fenced blocks out; it returns the rest, with the same lines.
func (p *Page) readBlocks(text string) string {
	var rest []string
	var open *Block
	for i, l := range strings.Split(text, "\n") {
		match := fence.FindStringSubmatch(l)
		switch {
		case match != nil && open == nil:
			open = &Block{Line: i + 1, Language: strings.TrimSpace(match[1])}
		case match != nil:
			p.Blocks = append(p.Blocks, *open)
			open = nil
		case open != nil:
			open.Text += l + "\n"
		default:
			rest = append(rest, l)
			continue
		}
		rest = append(rest, "")
	}
	return strings.Join(rest, "\n")
}

// readHeadings makes fragments as GitHub does: lower case, no punctuation, dashes for spaces, a number if there is one already.
func (p *Page) readHeadings(prose string) {
	for l := range strings.Lines(prose) {
		match := heading.FindStringSubmatch(strings.TrimSpace(l))
		if match == nil {
			continue
		}
		text := linkText.ReplaceAllString(match[1], "$1")
		base := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		anchor := base
		for n := 1; p.Anchors[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", base, n)
		}
		p.Anchors[anchor] = true
	}
}

// find returns what is made of each match, with its line.
func find(what *regexp.Regexp, text string, of func(match []string) string) []Span {
	var spans []Span
	for _, at := range what.FindAllStringSubmatchIndex(text, -1) {
		match := make([]string, len(at)/2)
		for i := range match {
			match[i] = text[at[2*i]:at[2*i+1]]
		}
		spans = append(spans, Span{Line: 1 + strings.Count(text[:at[0]], "\n"), Text: of(match)})
	}
	return spans
}
