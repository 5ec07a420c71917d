package cloudinit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

const (
	writeFiles = "write_files"
	runcmd     = "runcmd"
)

// document is a parsed cloud-config: a block mapping with plain keys in the first column, or nothing at all (nil root).
type document struct {
	root *yaml.Node
}

// where keeps the line of a parser's error; the rest may quote the document, which holds credentials (I7).
var where = regexp.MustCompile(`line \d+`)

var errNotYAML = errors.New("the document is not YAML")

// decode is the root of the document, nil if there is nothing but comments.
func decode(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var node yaml.Node
	switch err := decoder.Decode(&node); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		if line := where.FindString(err.Error()); line != "" {
			return nil, fmt.Errorf("%w: %s", errNotYAML, line)
		}
		return nil, errNotYAML
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("the document is not a single YAML document")
	}
	return node.Content[0], nil
}

func parse(data []byte) (*document, error) {
	root, err := decode(data)
	if err != nil {
		return nil, err
	}
	d := &document{root: root}
	return d, d.check()
}

func (d *document) check() error {
	if d.root == nil {
		return nil
	}
	if d.root.Kind != yaml.MappingNode || d.root.Style&yaml.FlowStyle != 0 {
		return errors.New("the document is not a mapping in block style")
	}
	seen := map[string]bool{}
	for i := 0; i < len(d.root.Content); i += 2 {
		key := d.root.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Column != 1 {
			return fmt.Errorf("line %d is not a plain key in the first column", key.Line)
		}
		if seen[key.Value] {
			return fmt.Errorf("line %d repeats a key", key.Line)
		}
		seen[key.Value] = true
	}
	return errors.Join(d.checkList(writeFiles), d.checkList(runcmd))
}

// checkList wants a list in block style, an empty value or no such key.
func (d *document) checkList(key string) error {
	v := d.value(key)
	if v == nil || empty(v) {
		return nil
	}
	if v.Kind != yaml.SequenceNode || v.Style&yaml.FlowStyle != 0 || v.Anchor != "" {
		return fmt.Errorf("%s is not a list in block style", key)
	}
	return nil
}

// empty tells a key without any value, under which a list may be written.
func empty(v *yaml.Node) bool {
	return v.Kind == yaml.ScalarNode && v.Tag == "!!null" && v.Value == "" && v.Anchor == ""
}

func (d *document) pair(key string) (k, v *yaml.Node) {
	if d.root == nil {
		return nil, nil
	}
	for i := 0; i < len(d.root.Content); i += 2 {
		if d.root.Content[i].Value == key {
			return d.root.Content[i], d.root.Content[i+1]
		}
	}
	return nil, nil
}

func (d *document) value(key string) *yaml.Node {
	_, v := d.pair(key)
	return v
}

// head is the place of the first item in a list that exists: line and column of its dash.
func (d *document) head(key string) (line, column int) {
	k, v := d.pair(key)
	if v.Kind != yaml.SequenceNode {
		return k.Line + 1, 1
	}
	return v.Line, v.Column
}

// first is the line of the first key, the end if there is none.
func (d *document) first(t *text) int {
	if d.root == nil {
		return t.end()
	}
	return d.root.Content[0].Line
}

// withoutOwn is data with the lines of our entries to be removed.
func (d *document) withoutOwn(data []byte, unit string) *text {
	t := newText(data)
	for _, key := range []string{writeFiles, runcmd} {
		v := d.value(key)
		if v == nil {
			continue
		}
		for i, item := range v.Content {
			if !own(key, item, unit) {
				continue
			}
			next := d.after(key, t)
			if i+1 < len(v.Content) {
				next = t.dash(v.Content[i+1].Line, v.Column)
			}
			t.remove(t.dash(item.Line, v.Column), next, commentIndent(item, v.Column))
		}
	}
	return t
}

// commentIndent is up to which indentation a line behind an item that starts with # is a comment: any, unless the item ends
// with a block scalar, whose lines are deeper than a mapping's keys or the dash.
func commentIndent(item *yaml.Node, dash int) int {
	last := item
	for len(last.Content) > 0 {
		last = last.Content[len(last.Content)-1]
	}
	switch {
	case last.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		return maxLine
	case item.Kind == yaml.MappingNode:
		return dash + 1
	default:
		return dash - 1
	}
}

// after is the line of the key that follows, or the end.
func (d *document) after(key string, t *text) int {
	for i := 0; i+2 < len(d.root.Content); i += 2 {
		if d.root.Content[i].Value == key {
			return d.root.Content[i+2].Line
		}
	}
	return t.end()
}

// own tells whether an item of a list is ours.
func own(key string, item *yaml.Node, unit string) bool {
	if key == runcmd {
		return item.Kind == yaml.ScalarNode && (item.Value == payload.InstallCommand(unit) || item.Value == payload.StartCommand(unit))
	}
	return payload.Owned(strings.TrimSpace(field(item, "path")))
}

// field is the value of a scalar in a mapping, "" if there is none.
func field(item *yaml.Node, name string) string {
	if item.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i < len(item.Content); i += 2 {
		if item.Content[i].Value == name && item.Content[i+1].Kind == yaml.ScalarNode {
			return item.Content[i+1].Value
		}
	}
	return ""
}
