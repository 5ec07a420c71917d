package cloudinit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
)

// text is a document as lines, numbered from 1 as the parser numbers them, with edits that are done in the end.
type text struct {
	lines   []string // each with its line break
	size    int      // about the length of the result
	removed map[int]bool
	added   map[int][]string // before the line
}

func newText(data []byte) *text {
	lines := strings.SplitAfter(string(data), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return &text{lines: lines, size: len(data) + 16<<10, removed: map[int]bool{}, added: map[int][]string{}}
}

// errBreaks refuses what the parser, but nobody else, counts as line breaks.
var errBreaks = errors.New("the document has line breaks of another kind: line feed, with or without carriage return, is accepted")

// otherBreaks tells whether data has such breaks: next line, line and paragraph separator, lone carriage return.
func otherBreaks(data []byte) bool {
	for _, separator := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(data, []byte(separator)) {
			return true
		}
	}
	return loneReturns(data)
}

func loneReturns(data []byte) bool {
	return bytes.Count(data, []byte("\r")) != bytes.Count(data, []byte("\r\n"))
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

// remove takes out the lines from first up to, not including, next; blank lines and comments up to an indentation stay, where
// they stand before next.
func (t *text) remove(first, next, indent int) {
	for next > first+1 && next <= t.end() && idle(t.lines[next-2], indent) {
		next--
	}
	for i := first; i < next; i++ {
		t.removed[i] = true
	}
}

func idle(line string, indent int) bool {
	text := strings.TrimLeft(line, " ")
	return strings.TrimSpace(line) == "" || (strings.HasPrefix(text, "#") && len(line)-len(text) <= indent)
}

// join does the edits.
func (t *text) join() []byte {
	var out bytes.Buffer
	out.Grow(t.size)
	for i := 1; i <= t.end(); i++ {
		added := t.added[i]
		if i == t.end() && len(added) > 0 && len(t.lines) > 0 && !strings.HasSuffix(t.lines[i-2], "\n") {
			out.WriteString("\n")
		}
		for _, l := range added {
			out.WriteString(l)
		}
		if i < t.end() && !t.removed[i] {
			out.WriteString(t.lines[i-1])
		}
	}
	return out.Bytes()
}

// steady tells whether the edits change nothing of what Jinja makes of the other lines, and Jinja nothing of them: done on the
// masked text they must give what masking gives once they are done, and the lines themselves must hold nothing for Jinja.
func (t *text) steady() bool {
	data := []byte(strings.Join(t.lines, ""))
	if !intricate(data) {
		return true
	}
	for i := range t.removed {
		if opener.MatchString(t.lines[i-1]) {
			return false
		}
	}
	for _, lines := range t.added {
		if slices.ContainsFunc(lines, opener.MatchString) {
			return false
		}
	}
	masked := newText(mask(data))
	masked.removed, masked.added = t.removed, t.added
	return bytes.Equal(masked.join(), mask(t.join()))
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
