package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// value is a part of a JSON text that is known to be valid: text[from:to]. The zero value is one that is not there.
type value struct {
	text     []byte
	from, to int
}

// whole is the value that a valid text consists of.
func whole(text []byte) value { return valueAt(text, skip(text, 0)) }

func valueAt(text []byte, at int) value {
	switch text[at] {
	case '"':
		return value{text, at, afterString(text, at)}
	case '{', '[':
		return value{text, at, afterContainer(text, at)}
	}
	end := at
	for end < len(text) && !between(text[end]) && text[end] != ']' && text[end] != '}' {
		end++
	}
	return value{text, at, end}
}

// afterString looks for a quote behind an even number of backslashes.
func afterString(text []byte, at int) int {
	for i := at + 1; ; i++ {
		i += bytes.IndexByte(text[i:], '"')
		escape := i
		for text[escape-1] == '\\' {
			escape--
		}
		if (i-escape)%2 == 0 {
			return i + 1
		}
	}
}

func afterContainer(text []byte, at int) int {
	depth := 0
	for i := at; ; {
		switch text[i] {
		case '"':
			i = afterString(text, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// skip is the place of what comes behind blanks and separators.
func skip(text []byte, at int) int {
	for at < len(text) && between(text[at]) {
		at++
	}
	return at
}

func between(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':':
		return true
	}
	return false
}

func (v value) raw() []byte { return v.text[v.from:v.to] }

// is tells whether the value starts like this: an object with {, an array with [, null with n.
func (v value) is(first byte) bool { return v.to > 0 && v.text[v.from] == first }

// missing tells whether readers of Ignition take the value for one that is not there.
func (v value) missing() bool { return v.to == 0 || v.is('n') }

// string is the text of a string, "" for everything else.
func (v value) string() string {
	if !v.is('"') {
		return ""
	}
	if inner := v.text[v.from+1 : v.to-1]; utf8.Valid(inner) && !bytes.ContainsRune(inner, '\\') {
		return string(inner)
	}
	var s string
	if json.Unmarshal(v.raw(), &s) != nil {
		return ""
	}
	return s
}

// members are the keys and values of an object.
func (v value) members() iter.Seq2[value, value] {
	return func(yield func(key, member value) bool) {
		if !v.is('{') {
			return
		}
		for at := skip(v.text, v.from+1); v.text[at] != '}'; {
			key := valueAt(v.text, at)
			member := valueAt(v.text, skip(v.text, key.to))
			if !yield(key, member) {
				return
			}
			at = skip(v.text, member.to)
		}
	}
}

// items are the values of an array.
func (v value) items() iter.Seq[value] {
	return func(yield func(item value) bool) {
		if !v.is('[') {
			return
		}
		for at := skip(v.text, v.from+1); v.text[at] != ']'; {
			item := valueAt(v.text, at)
			if !yield(item) {
				return
			}
			at = skip(v.text, item.to)
		}
	}
}

// holds tells whether the value is an array of anything.
func (v value) holds() bool {
	for range v.items() {
		return true
	}
	return false
}

// fields are the members of an object with these names. Readers in Go take "Files" for "files", and the last of two, so each
// name is accepted once and as it is written here.
func (v value) fields(names ...string) ([]value, error) {
	found := make([]value, len(names))
	if !v.missing() && !v.is('{') {
		return nil, errObject
	}
	for key, member := range v.members() {
		name := key.string()
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		if i < 0 {
			continue
		}
		if name != names[i] || found[i].to > 0 {
			return nil, fmt.Errorf("the field %q stands twice or in other letters, once is accepted", names[i])
		}
		found[i] = member
	}
	return found, nil
}

// edit is a part of a text to be written anew.
type edit struct {
	from, to int
	with     string
}

// apply does edits that do not overlap; those at one place in the order given.
func apply(text []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out bytes.Buffer
	done := 0
	for _, e := range edits {
		out.Write(text[done:e.from])
		out.WriteString(e.with)
		done = e.to
	}
	out.Write(text[done:])
	return out.Bytes()
}
