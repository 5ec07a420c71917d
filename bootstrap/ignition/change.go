package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// change is what is to become of a document.
type change struct {
	*document
	edits []edit
	// written are the strings that get another value, by their place.
	written map[string]string
}

// write gives a string another value.
func (c *change) write(place string, at value, text string) error {
	quoted, err := json.Marshal(text)
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	c.edits = append(c.edits, edit{at.from, at.to, string(quoted)})
	c.written[place] = text
	return nil
}

// insert puts entries at the head of a list, which it makes if there is none.
func insert[E any](c *change, l list, entries ...E) error {
	var texts []string
	for _, e := range entries {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("writing %s: %w", l.place(), err)
		}
		texts = append(texts, string(text))
	}
	text := strings.Join(texts, ",")
	switch array := "[" + text + "]"; {
	case text == "":
	case l.value.is('['):
		if l.foreign() > 0 {
			text += ","
		}
		c.edits = append(c.edits, edit{l.value.from + 1, l.value.from + 1, text})
	case l.value.is('n'):
		c.edits = append(c.edits, edit{l.value.from, l.value.to, array})
	case l.in.is('{'):
		c.append(l.in, l.name, array)
	case l.in.is('n'):
		c.edits = append(c.edits, edit{l.in.from, l.in.to, fmt.Sprintf("{%q:%s}", l.name, array)})
	default:
		c.append(c.root, l.section, fmt.Sprintf("{%q:%s}", l.name, array))
	}
	return nil
}

// append puts a member at the end of an object.
func (c *change) append(object value, name, text string) {
	at, comma := object.from+1, ""
	for _, member := range object.members() {
		at, comma = member.to, ","
	}
	c.edits = append(c.edits, edit{at, at, fmt.Sprintf("%s%q:%s", comma, name, text)})
}

// remove takes our entries out of a list: each with the comma behind it, those at the end with the comma before them.
func (c *change) remove(l list) {
	last := len(l.items) - 1
	for last >= 0 && l.items[last].own {
		last--
	}
	for _, it := range l.items[:last+1] {
		if it.own {
			comma := bytes.IndexByte(it.text[it.to:], ',')
			c.edits = append(c.edits, edit{it.from, it.to + comma + 1, ""})
		}
	}
	end := l.items[last+1:]
	if len(end) == 0 {
		return
	}
	from := end[0].from
	if last >= 0 {
		from = l.items[last].to
	}
	c.edits = append(c.edits, edit{from, end[len(end)-1].to, ""})
}

// foreign is how many entries of a list are not ours.
func (l list) foreign() int {
	n := 0
	for _, it := range l.items {
		if !it.own {
			n++
		}
	}
	return n
}
