package cloudinit

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// maxLine is what a bufio.Scanner, the reader of some infrastructure providers, takes as one line.
const maxLine = 64 << 10

var (
	errForm = errors.New("the user data has no form that is handled: cloud-config, script (#!), #include and other words " +
		"of cloud-init, MIME, gzip around one of them, and Ignition are accepted")
	errNoFiles = errors.New("there is no file to write")
	errForeign = errors.New("the foreign part could not be shown to stay as it is")
	errJinja   = errors.New("what Jinja makes of the document may be another one")
	errOwn     = errors.New("our part would not be read as it is meant")
	errLine    = fmt.Errorf("a line would have %d bytes or more, less is accepted", maxLine)
)

// Inject returns data with the files written and the unit started at first boot, in the form that data has; a form that
// cannot take them in becomes a part of a MIME message. What data carries of ours already is replaced, so that injecting
// again changes nothing. An error says why data cannot be changed safely, and holds nothing of its content.
func Inject(data []byte, files []payload.File, unit string) ([]byte, error) {
	if len(files) == 0 {
		return nil, errNoFiles
	}
	b, err := newBundle(files, unit)
	if err != nil {
		return nil, err
	}
	return b.into(data)
}

func (b *bundle) into(data []byte) ([]byte, error) {
	switch FormOf(data) {
	case CloudConfig:
		return b.intoCloudConfig(data)
	case Script, Directive:
		return b.aroundText(data)
	case MIME:
		return b.intoMessage(data)
	case Gzip:
		return b.intoGzip(data)
	}
	return nil, errForm
}

// intoGzip keeps the very bytes of what carries our part already.
func (b *bundle) intoGzip(data []byte) ([]byte, error) {
	inner, err := gunzip(data)
	if err != nil {
		return nil, err
	}
	if zipped(inner) {
		return nil, errForm
	}
	out, err := b.into(inner)
	if err != nil {
		return nil, fmt.Errorf("inside gzip: %w", err)
	}
	if bytes.Equal(out, inner) {
		return data, nil
	}
	return payload.Gzip(out)
}

// intoCloudConfig splices our entries in, but leaves a document alone that is no YAML, or another one, until Jinja has
// rendered it.
func (b *bundle) intoCloudConfig(data []byte) ([]byte, error) {
	root, err := decode(data)
	if err == nil || errors.Is(err, errNotYAML) {
		if templated(data) && (err != nil || !keepsShape(data, root)) {
			return b.aroundText(data)
		}
	}
	if err != nil {
		return nil, err
	}
	if otherBreaks(data) {
		return nil, errBreaks
	}
	before := &document{root: root}
	if err := before.check(); err != nil {
		return nil, err
	}
	out, err := b.splice(data, before)
	if errors.Is(err, errJinja) {
		return b.aroundText(data)
	}
	if err != nil {
		return nil, err
	}
	after, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("checking the result: %w", err)
	}
	if err := b.prove(before, after); err != nil {
		return nil, err
	}
	return out, nil
}

// splice removes our old entries, then puts the new ones at the head of their lists.
func (b *bundle) splice(data []byte, doc *document) ([]byte, error) {
	t := doc.withoutOwn(data, b.unit)
	if len(t.removed) > 0 {
		if !t.steady() {
			return nil, errJinja
		}
		var err error
		data = t.join()
		if doc, err = parse(data); err != nil {
			return nil, fmt.Errorf("removing earlier entries: %w", err)
		}
		t = newText(data)
	}
	b.add(t, doc)
	if !t.steady() {
		return nil, errJinja
	}
	return t.bytes()
}

// add puts our entries at the head of their lists; a list that is missing starts before the first key, or behind the last.
func (b *bundle) add(t *text, doc *document) {
	for _, list := range []struct {
		key     string
		missing int
	}{{writeFiles, doc.first(t)}, {runcmd, t.end()}} {
		if doc.value(list.key) == nil {
			t.insert(list.missing, 1, append([]string{list.key + ":"}, b.entries[list.key]...))
			continue
		}
		line, column := doc.head(list.key)
		t.insert(line, column, b.entries[list.key])
	}
}
