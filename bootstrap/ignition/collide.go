package ignition

import (
	"fmt"
	"strings"
)

// collide refuses a config where something foreign is in the way of our part, and one with two entries for one path, which
// the parsers of 2.x take, but Flatcar does not. Two entries for one unit are common in 2.x: the kubeadm provider writes one,
// and a user's drop-ins are another. Flatcar merges them, see config-add-ignition-translation.patch in
// https://github.com/flatcar/scripts.
func (p *part) collide(d *document) error {
	for _, l := range append([]list{d.files}, d.others...) {
		for i, it := range l.items {
			if !it.own && d.ours(it) && p.inTheWay(l, it) {
				return fmt.Errorf("%s[%d]%s: something else is at or above a path of ours", l.place(), i, p.quoted(it.name))
			}
		}
	}
	for i, it := range d.units.items {
		if !it.own && it.name == p.unit.Name {
			return fmt.Errorf("%s[%d] (%s): something else has the name of our unit", d.units.place(), i, it.name)
		}
	}
	if err := distinct(append([]list{d.files}, d.others...)...); err != nil {
		return err
	}
	if d.v2 {
		return nil
	}
	return distinct(d.units)
}

// inTheWay tells whether an entry is at a path that is ours, or would be a parent of one without being a directory.
func (p *part) inTheWay(l list, it item) bool {
	_, current := p.marked[it.name]
	if l.name == "directories" {
		return current
	}
	return p.owned(it.name) || p.above(it.name)
}

func (p *part) above(path string) bool {
	for ours := range p.marked {
		if strings.HasPrefix(ours, path+"/") {
			return true
		}
	}
	return false
}

// quoted names a path that is no secret: one of ours.
func (p *part) quoted(path string) string {
	if _, current := p.marked[path]; current {
		return " (" + path + ")"
	}
	return ""
}

// distinct wants every entry of ours and of others at a place of its own.
func distinct(lists ...list) error {
	type key struct{ filesystem, name string }
	seen := map[key]string{}
	for _, l := range lists {
		for i, it := range l.items {
			place := fmt.Sprintf("%s[%d]", l.place(), i)
			if it.own {
				continue
			}
			if first, twice := seen[key{it.filesystem, it.name}]; twice {
				return fmt.Errorf("%s and %s are for one path or unit, once is accepted", first, place)
			}
			seen[key{it.filesystem, it.name}] = place
		}
	}
	return nil
}
