package cloudinit

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// prove compares what was read before with what is read after: the foreign part must be equal, and ours be there once,
// complete, in order, the command before every other.
func prove(before, after *document, files []payload.File, unit string) error {
	if !slices.EqualFunc(before.foreign(unit), after.foreign(unit), equal) {
		return errForeign
	}
	items := after.own(writeFiles, unit)
	if !slices.EqualFunc(items, files, reads) || len(after.own(runcmd, unit)) != 1 {
		return errOwn
	}
	if !own(runcmd, after.value(runcmd).Content[0], unit) {
		return errOwn
	}
	return nil
}

// reads tells whether an item of write_files says what the file should be.
func reads(item *yaml.Node, f payload.File) bool {
	var got entry
	return item.Decode(&got) == nil && got == newEntry(f)
}

func (d *document) own(key, unit string) []*yaml.Node {
	var items []*yaml.Node
	if v := d.value(key); v != nil {
		for _, item := range v.Content {
			if own(key, item, unit) {
				items = append(items, item)
			}
		}
	}
	return items
}

// foreign is every key with its value, in order, without our items, and without the two lists where nothing else is left.
func (d *document) foreign(unit string) []*yaml.Node {
	if d.root == nil {
		return nil
	}
	var nodes []*yaml.Node
	for i := 0; i < len(d.root.Content); i += 2 {
		k, v := d.root.Content[i], d.root.Content[i+1]
		if k.Value == writeFiles || k.Value == runcmd {
			rest := *v
			rest.Content = slices.DeleteFunc(slices.Clone(v.Content), func(item *yaml.Node) bool {
				return own(k.Value, item, unit)
			})
			if len(rest.Content) == 0 {
				continue
			}
			v = &rest
		}
		nodes = append(nodes, k, v)
	}
	return nodes
}

// equal compares all that a reader may see; an alias by its name, as what it names is compared where it stands.
func equal(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor && a.Style == b.Style &&
		slices.EqualFunc(a.Content, b.Content, equal)
}
