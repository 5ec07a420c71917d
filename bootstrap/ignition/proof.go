package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// prove reads what became of a document, as JSON and as the official types see it: the foreign part must be equal, and ours be
// there once, at the head, as it is meant.
func (in *injector) prove(c *change, out []byte, add bool) error {
	seen, err := c.check(out)
	if err != nil {
		if _, err := c.check(c.root.text); err != nil {
			return err
		}
		return fmt.Errorf("with our part %w", err)
	}
	if err := in.compare(c, c.document, out, add); err != nil {
		return err
	}
	saw, err := c.view(c.root.text)
	if err != nil {
		return err
	}
	before, err := in.read(whole(saw))
	if err != nil {
		return fmt.Errorf("checking the original: %w", err)
	}
	return in.compare(c, before, seen, add)
}

// compare reads a result, which is valid JSON, and sees what it keeps of a document.
func (in *injector) compare(c *change, before *document, result []byte, add bool) error {
	after, err := in.read(whole(result))
	if err != nil {
		return fmt.Errorf("checking the result: %w", err)
	}
	if !slices.EqualFunc(before.foreign(c.written), after.foreign(c.written), piece.equal) || !after.holds(c.written) {
		return errForeign
	}
	if after.replace == nil && !in.present(after, add) {
		return errOwn
	}
	return nil
}

// holds tells whether the strings that were to be written are there.
func (d *document) holds(written map[string]string) bool {
	found := 0
	for place, v := range d.strings() {
		if text, ok := written[place]; ok && text == v.string() {
			found++
		}
	}
	return found == len(written)
}

// present tells whether exactly our part is there, or nothing of ours where it is not to be.
func (in *injector) present(d *document, add bool) bool {
	var files []file
	var units []unit
	if add {
		var u unit
		files, u = in.in(d.spec)
		units = []unit{u}
	}
	return present(d.files, files) && present(d.units, units)
}

func present[E comparable](l list, want []E) bool {
	var got []E
	for i, it := range l.items {
		if !it.own {
			continue
		}
		var e E
		if i >= len(want) || json.Unmarshal(it.raw(), &e) != nil {
			return false
		}
		got = append(got, e)
	}
	return slices.Equal(got, want)
}

// piece is a part of a document that is not ours, and where it is.
type piece struct {
	place string
	text  []byte
}

func (p piece) equal(q piece) bool { return p.place == q.place && bytes.Equal(p.text, q.text) }

// foreign is all of a document but our entries and the strings that were written, in order. A list or section that is empty
// is like one that is not there.
func (d *document) foreign(written map[string]string) []piece {
	holes := d.holes(written)
	sections := []int{d.root.from, d.files.in.from, d.files.value.from, d.units.in.from, d.units.value.from}
	var pieces []piece
	var walk func(place string, v value)
	walk = func(place string, v value) {
		at, hole := slices.BinarySearch(holes, v.from)
		section := slices.Contains(sections, v.from)
		switch {
		case hole, section && v.missing():
			return
		case !section && (at == len(holes) || holes[at] >= v.to):
			pieces = append(pieces, piece{place, v.raw()})
			return
		case !section:
			pieces = append(pieces, piece{place: place})
		}
		for key, member := range v.members() {
			walk(place+"."+string(key.raw()), member)
		}
		for item := range v.items() {
			walk(place+"[]", item)
		}
	}
	walk("", d.root)
	return pieces
}

// holes are the places in the text, in order, of what is left out of a comparison.
func (d *document) holes(written map[string]string) []int {
	var holes []int
	for _, it := range slices.Concat(d.files.items, d.units.items) {
		if it.own {
			holes = append(holes, it.from)
		}
	}
	for place, v := range d.strings() {
		if _, ok := written[place]; ok {
			holes = append(holes, v.from)
		}
	}
	slices.Sort(holes)
	return holes
}

// strings are those of a document that may be written, by their place.
func (d *document) strings() map[string]value {
	all := map[string]value{}
	for _, r := range d.resources() {
		all[r.place+".source"], all[r.place+".verification.hash"] = r.source, r.hash
	}
	return all
}
