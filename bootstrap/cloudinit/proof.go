package cloudinit

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// prove compares what was read before with what is read after: the foreign part must be equal, and ours be there once, the
// command before every other.
func (b *bundle) prove(before, after *document) error {
	if !slices.EqualFunc(before.foreign(b.unit), after.foreign(b.unit), equal) {
		return errForeign
	}
	items, commands := after.own(writeFiles, b.unit), after.own(runcmd, b.unit)
	if len(items) != 1 || len(commands) != 1 || commands[0] != after.value(runcmd).Content[0] {
		return errOwn
	}
	var got entry
	if items[0].Decode(&got) != nil || got != b.entry || commands[0].Value != payload.InstallCommand(b.unit) {
		return errOwn
	}
	return nil
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

// sameShape tells whether two readers take one text for the same tree, with the same keys, at the same places.
func sameShape(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind != b.Kind || a.Style != b.Style || a.Line != b.Line || a.Column != b.Column || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameShape(a.Content[i], b.Content[i]) {
			return false
		}
		if isKey := a.Kind == yaml.MappingNode && i%2 == 0; isKey && a.Content[i].Value != b.Content[i].Value {
			return false
		}
	}
	return true
}
