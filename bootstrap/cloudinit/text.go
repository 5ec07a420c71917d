package cloudinit

import (
	"slices"
	"strings"
)

// text is a document as lines, numbered from 1 as the parser numbers them, with edits that are done in the end.
type text struct {
	lines   []string // each with its line break
	removed map[int]bool
	added   map[int][]string // before the line
}

func newText(data []byte) *text {
	lines := strings.SplitAfter(string(data), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return &text{lines: lines, removed: map[int]bool{}, added: map[int][]string{}}
}

// end is the number of the line behind the last one.
func (t *text) end() int { return len(t.lines) + 1 }

// insert puts lines before a line, so that they start in a column.
func (t *text) insert(before, column int, lines []string) {
	before = min(before, t.end())
	for _, l := range lines {
		t.added[before] = append(t.added[before], strings.Repeat(" ", column-1)+l+"\n")
	}
}

// dash is the line of the dash before an item that starts at line: the same one, or one above it.
func (t *text) dash(line, column int) int {
	for l := min(line, len(t.lines)); l > 0; l-- {
		if strings.HasPrefix(t.lines[l-1], strings.Repeat(" ", column-1)+"-") {
			return l
		}
	}
	return line
}

// remove takes out the lines from first up to, not including, next; blank lines and comments before next stay.
func (t *text) remove(first, next int) {
	for next > first+1 && next <= t.end() && idle(t.lines[next-2]) {
		next--
	}
	for i := first; i < next; i++ {
		t.removed[i] = true
	}
}

func idle(line string) bool {
	return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#")
}

// join does the edits.
func (t *text) join() []byte {
	var out strings.Builder
	for i := 1; i <= t.end(); i++ {
		if i == t.end() && len(t.added[i]) > 0 && len(t.lines) > 0 && !strings.HasSuffix(t.lines[i-2], "\n") {
			out.WriteString("\n")
		}
		for _, l := range t.added[i] {
			out.WriteString(l)
		}
		if i < t.end() && !t.removed[i] {
			out.WriteString(t.lines[i-1])
		}
	}
	return []byte(out.String())
}

// bytes does the edits, and refuses what a line-wise reader could not take in; lines that were too long before stay so.
func (t *text) bytes() ([]byte, error) {
	for _, lines := range t.added {
		if slices.ContainsFunc(lines, func(l string) bool { return len(l) >= maxLine }) {
			return nil, errLine
		}
	}
	return t.join(), nil
}
