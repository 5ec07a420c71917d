package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// report collects what is measured, as Markdown, and which bounds were broken.
type report struct {
	text strings.Builder

	mu     sync.Mutex // of what follows
	bounds []bound
	broken []string
}

type bound struct {
	text string
	held bool
}

// section begins a part; the bounds of the one before are written down first.
func (r *report) section(title string, paragraphs ...string) {
	r.writeBounds()
	fmt.Fprintf(&r.text, "\n## %s\n", title)
	for _, paragraph := range paragraphs {
		r.paragraph("%s", paragraph)
	}
}

func (r *report) paragraph(format string, values ...any) {
	fmt.Fprintf(&r.text, "\n"+format+"\n", values...)
}

// table writes rows of cells; the first row is the header.
func (r *report) table(rows [][]string) {
	r.text.WriteString("\n")
	for i, row := range rows {
		r.row(row)
		if i == 0 {
			r.row(strings.Split(strings.Repeat("---,", len(row)-1)+"---", ","))
		}
	}
}

func (r *report) row(cells []string) {
	for _, cell := range cells {
		fmt.Fprintf(&r.text, "| %s ", strings.ReplaceAll(cell, "|", `\|`))
	}
	r.text.WriteString("|\n")
}

// bound notes whether this project's cache kept a bound; what says what the bound is and what was measured.
func (r *report) bound(held bool, what string, values ...any) {
	b := bound{text: fmt.Sprintf(what, values...), held: held}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bounds = append(r.bounds, b)
	if !held {
		r.broken = append(r.broken, b.text)
	}
}

func (r *report) isBroken(what string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.broken, what)
}

func (r *report) writeBounds() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bounds) == 0 {
		return
	}
	r.text.WriteString("\nBounds of this project's cache:\n\n")
	for _, b := range r.bounds {
		verdict := "kept"
		if !b.held {
			verdict = "**broken**"
		}
		fmt.Fprintf(&r.text, "- %s: %s\n", verdict, b.text)
	}
	r.bounds = nil
}

// String is the whole report.
func (r *report) String() string {
	r.writeBounds()
	return r.text.String()
}

// took rounds a duration to what matters of it.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

const (
	kilobyte = 1000
	megabyte = 1000 * kilobyte
	gigabyte = 1000 * megabyte
)

func size(bytes int64) string {
	switch {
	case bytes >= 10*gigabyte:
		return fmt.Sprintf("%.1f GB", float64(bytes)/gigabyte)
	case bytes >= gigabyte:
		return fmt.Sprintf("%.2f GB", float64(bytes)/gigabyte)
	case bytes >= megabyte:
		return fmt.Sprintf("%.1f MB", float64(bytes)/megabyte)
	case bytes >= kilobyte:
		return fmt.Sprintf("%.1f KB", float64(bytes)/kilobyte)
	}
	return fmt.Sprintf("%d B", bytes)
}
