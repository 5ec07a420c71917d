package ignition

import (
	"fmt"
	"slices"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// markOwn finds our own entries, of this or of an earlier payload.
func (p *part) markOwn(d *document) error {
	for i, it := range d.files.items {
		if !d.ours(it) || !p.owned(it.name) {
			continue
		}
		own, err := p.ownFile(it)
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", d.files.place(), i, err)
		}
		d.files.items[i].own = own
	}
	for i, it := range d.units.items {
		if it.name != p.unit.Name {
			continue
		}
		own, err := ownUnit(it)
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", d.units.place(), i, err)
		}
		d.units.items[i].own = own
	}
	return nil
}

// ours tells whether an entry is on the filesystem where ours are.
func (d *document) ours(it item) bool { return !d.v2 || it.filesystem == root }

func (p *part) owned(path string) bool {
	_, current := p.marked[path]
	return current || payload.Owned(path)
}

// ownFile tells whether a file at one of our paths is ours: its content is here, and carries the marker if the file that
// will be there does.
func (p *part) ownFile(it item) (bool, error) {
	v, err := it.fields("append", "contents")
	if err != nil {
		return false, err
	}
	source, err := v[1].fields("source", "compression")
	if err != nil {
		return false, fmt.Errorf("contents: %w", err)
	}
	if v[0].is('t') || v[0].holds() {
		return false, nil
	}
	url, compression := source[0].string(), source[1].string()
	if compression == "" && slices.ContainsFunc(p.files, func(f file) bool { return f.Path == it.name && f.Contents.Source == url }) {
		return true, nil // the very one, which need not be decoded
	}
	const head = 512
	content, err := decode(url, compression, head)
	return err == nil && (!p.marked[it.name] || marked(string(content))), nil
}

// ownUnit tells whether a unit of our name is ours: the marker, or nothing but the wish to enable a unit whose file is ours,
// which is what a bootstrap template writes that takes our files by reference.
func ownUnit(it item) (bool, error) {
	v, err := it.fields("contents", "enable", "enabled", "mask", "dropins")
	if err != nil {
		return false, err
	}
	if v[3].is('t') || v[4].holds() {
		return false, nil
	}
	if content := v[0].string(); content != "" {
		return marked(content), nil
	}
	return v[1].is('t') || v[2].is('t'), nil
}
