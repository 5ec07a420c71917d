package cloudinit

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Jinja constructs as cloud-init reads them: with trim_blocks, which joins the line behind a statement or a comment to it.
var (
	opener   = regexp.MustCompile(`\{[{%#]`)
	keyword  = regexp.MustCompile(`^\{%[-+]?\s*(\w+)`)
	simple   = regexp.MustCompile(`^\{\{ *[\w.]+ *\}\}`)
	assigns  = regexp.MustCompile(`^[^|=]*=`)
	openEnd  = regexp.MustCompile(`\{(#|%[-+]?\s*raw\s*[-+]?%\})\s*$`)
	endOfRaw = regexp.MustCompile(`\{%[-+]?\s*endraw\s*[-+]?%\}`)

	blocks = []string{"if", "for", "macro", "call", "filter", "block", "with", "autoescape"}
)

// templated tells whether cloud-init renders data before it reads it, and finds something to render.
func templated(data []byte) bool {
	return bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(data[:min(len(data), headSize)])), []byte(jinjaLine)) &&
		opener.Match(data)
}

// intricate tells whether Jinja finds more than names to replace, such as {{ ds.meta_data.local_hostname }}: something that may
// drop, repeat or join lines.
func intricate(data []byte) bool {
	if !templated(data) {
		return false
	}
	for at := opener.FindIndex(data); at != nil; at = opener.FindIndex(data) {
		end := simple.FindIndex(data[at[0]:])
		if end == nil {
			return true
		}
		data = data[at[0]+end[1]:]
	}
	return false
}

// keepsShape tells whether a document is the same tree before and after Jinja has rendered it, whatever that gives. A name in
// braces holds nothing that means something in YAML but the braces, so where the tree shows none of them it is inside of a
// text or a comment.
func keepsShape(data []byte, root *yaml.Node) bool {
	if !intricate(data) && !braces(root) {
		return true
	}
	if openEnd.Match(data) { // fine as long as nothing follows
		return false
	}
	masked, err := decode(mask(data))
	return err == nil && sameShape(root, masked)
}

// braces tells whether two braces were read as a mapping in a mapping, or stand in a key.
func braces(n *yaml.Node) bool {
	if n == nil {
		return false
	}
	if n.Kind == yaml.MappingNode {
		if n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode {
			return true
		}
		for i := 0; i < len(n.Content); i += 2 {
			if strings.Contains(n.Content[i].Value, "{{") {
				return true
			}
		}
	}
	return slices.ContainsFunc(n.Content, braces)
}

// span is a range of bytes that rendering replaces, or whose beginning it may move to another line.
type span struct{ from, to int }

// mask is data with a word of x for every word that Jinja replaces, drops, repeats or moves: a reader of the masked text sees
// what stays in its place. From a construct that does not end nothing is masked, as Jinja refuses the whole.
func mask(data []byte) []byte {
	out := slices.Clone(data)
	gone := false
	for _, s := range spans(data) {
		for i := s.from; i < s.to; i++ {
			switch c := data[i]; {
			case c >= 0x80 && c < 0xc0: // a letter is one x, however long it is
				out[i], gone = 0, true
			case !blank(c):
				out[i] = 'x'
			}
		}
	}
	if gone {
		out = bytes.ReplaceAll(out, []byte{0}, nil)
	}
	return out
}

func spans(data []byte) []span {
	var found []span
	depth, first := 0, 0
	for pos := 0; ; {
		at := opener.FindIndex(data[pos:])
		if at == nil {
			return found
		}
		from := pos + at[0]
		to := construct(data, from)
		if to < 0 {
			return found
		}
		word, opens, closes := statement(data[from:to])
		if word == "raw" {
			end := endOfRaw.FindIndex(data[to:])
			if end == nil {
				return found
			}
			to += end[1]
		}
		s := widened(data, from, to)
		if depth == 0 {
			first = s.from
		}
		depth += opens - closes
		switch {
		case depth < 0:
			return found
		case depth == 0:
			found = append(found, span{first, s.to})
		}
		pos = to
	}
}

// construct is where the construct that starts at from ends, -1 if it does not.
func construct(data []byte, from int) int {
	if data[from+1] == '#' {
		if n := bytes.Index(data[from+2:], []byte("#}")); n >= 0 {
			return from + 2 + n + 2
		}
		return -1
	}
	last := byte('}')
	if data[from+1] == '%' {
		last = '%'
	}
	nested := 0
	for i := from + 2; i+1 < len(data); i++ {
		switch c := data[i]; {
		case c == '"' || c == '\'':
			if i = quoted(data, i); i < 0 {
				return -1
			}
		case nested == 0 && c == last && data[i+1] == '}':
			return i + 2
		case c == '(' || c == '[' || c == '{':
			nested++
		case c == ')' || c == ']' || c == '}':
			if nested--; nested < 0 {
				return -1
			}
		}
	}
	return -1
}

// quoted is the place of the quote that ends the string which starts at from, -1 if there is none.
func quoted(data []byte, from int) int {
	for i := from + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case data[from]:
			return i
		}
	}
	return -1
}

// statement tells how many blocks a construct opens and closes.
func statement(text []byte) (word string, opens, closes int) {
	m := keyword.FindSubmatch(text)
	if m == nil {
		return "", 0, 0
	}
	word = string(m[1])
	switch {
	case slices.Contains(blocks, word), word == "set" && !assigns.Match(text):
		opens = 1
	case strings.HasPrefix(word, "end"):
		closes = 1
	}
	return word, opens, closes
}

// widened is the construct with the lines that rendering may join to it.
func widened(data []byte, from, to int) span {
	s := span{from, to}
	if c := data[from+2]; c == '-' {
		before := bytes.TrimRight(data[:from], " \t\r\n\v\f")
		if bytes.ContainsRune(data[len(before):from], '\n') {
			s.from = bytes.LastIndexByte(before, '\n') + 1
		}
	}
	rest := data[to:]
	switch c := data[to-3]; {
	case c == '-':
		rest = bytes.TrimLeft(rest, " \t\r\n\v\f")
	case c != '+' && data[to-2] != '}':
		rest = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte("\r")), []byte("\n"))
	}
	if skipped := data[to : len(data)-len(rest)]; bytes.ContainsRune(skipped, '\n') {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		s.to = len(data) - len(rest) + len(line)
	}
	return s
}

func blank(c byte) bool { return strings.IndexByte(" \t\r\n\v\f", c) >= 0 }
