package ignition

import (
	"encoding/json"
	"fmt"
	"path"
)

// document is a config as far as we have to know it.
type document struct {
	spec
	root         value
	files, units list
	others       []list // what else may stand at a path: directories and links
	replace      *resource
	children     []resource
}

// list is a list that we look through, in its section.
type list struct {
	section, name string
	in            value
	value         value
	items         []item
}

// item is a file, directory or link at a path, or a unit by its name.
type item struct {
	value
	filesystem string
	name       string
	own        bool
}

func (l list) place() string { return l.section + "." + l.name }

// parse tells what is Ignition from what is not: valid JSON, an object with ignition.version.
func parse(data []byte) (value, error) {
	if !json.Valid(data) {
		return value{}, errForm
	}
	v := whole(data)
	for _, name := range []string{"ignition", "version"} {
		if !v.is('{') {
			return value{}, errForm
		}
		fields, err := v.fields(name)
		if err != nil {
			return value{}, errForm
		}
		v = fields[0]
	}
	if !v.is('"') {
		return value{}, errForm
	}
	return whole(data), nil
}

// read finds what we have to know of a config.
func (p *part) read(text value) (*document, error) {
	top, err := text.fields("ignition", "storage", "systemd")
	if err != nil {
		return nil, err
	}
	d := &document{root: text}
	if err := d.readIgnition(top[0]); err != nil {
		return nil, err
	}
	storage, err := d.lists("storage", top[1], "files", "directories", "links")
	if err != nil {
		return nil, err
	}
	systemd, err := d.lists("systemd", top[2], "units")
	if err != nil {
		return nil, err
	}
	d.files, d.others, d.units = storage[0], storage[1:], systemd[0]
	return d, p.markOwn(d)
}

func (d *document) readIgnition(ignition value) error {
	v, err := ignition.fields("version", "config")
	if err != nil {
		return fmt.Errorf("ignition: %w", err)
	}
	if d.spec, err = specOf(v[0].string()); err != nil {
		return err
	}
	return d.readConfigs(v[1])
}

// readConfigs finds the configs within ignition.config.
func (d *document) readConfigs(in value) error {
	const place = "ignition.config"
	v, err := in.fields("replace", d.spec.children)
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	replace, err := d.resource(place+".replace", v[0])
	if err != nil {
		return err
	}
	if inForce := !replace.source.missing() || d.v2 && !v[0].missing(); inForce {
		d.replace = &replace
	}
	children, err := newList(place, in, d.spec.children, v[1])
	if err != nil {
		return err
	}
	for i, it := range children.items {
		child, err := d.resource(fmt.Sprintf("%s[%d]", children.place(), i), it.value)
		if err != nil {
			return err
		}
		d.children = append(d.children, child)
	}
	return nil
}

// lists are the lists of a section.
func (d *document) lists(section string, in value, names ...string) ([]list, error) {
	values, err := in.fields(names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", section, err)
	}
	var lists []list
	for i, v := range values {
		l, err := newList(section, in, names[i], v)
		if err != nil {
			return nil, err
		}
		if err := d.nameItems(l); err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, nil
}

func newList(section string, in value, name string, v value) (list, error) {
	l := list{section: section, name: name, in: in, value: v}
	if !v.missing() && !v.is('[') {
		return l, fmt.Errorf("%s: %w", l.place(), errArray)
	}
	for i := range v.items() {
		l.items = append(l.items, item{value: i})
	}
	return l, nil
}

func (d *document) nameItems(l list) error {
	for i := range l.items {
		it := &l.items[i]
		v, err := it.fields("name", "path", "filesystem")
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", l.place(), i, err)
		}
		if l.name == "units" {
			it.name = v[0].string()
			continue
		}
		it.name = path.Clean(v[1].string())
		if d.v2 {
			it.filesystem = v[2].string()
		}
	}
	return nil
}

// resources are the configs within a config.
func (d *document) resources() []resource {
	if d.replace != nil {
		return append([]resource{*d.replace}, d.children...)
	}
	return d.children
}
