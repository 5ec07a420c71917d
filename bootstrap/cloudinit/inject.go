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
	errNoHeader = errors.New("the document does not start with #cloud-config")
	errNoFiles  = errors.New("there is no file to write")
	errForeign  = errors.New("the foreign part could not be shown to stay as it is")
	errOwn      = errors.New("our entries would not be read as they are meant")
	errLine     = fmt.Errorf("a line has %d bytes or more", maxLine)
)

// Recognised tells whether data starts like a cloud-config, with or without the Jinja line before it.
func Recognised(data []byte) bool {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	if bytes.Equal(bytes.TrimSpace(first), []byte("## template: jinja")) {
		first, _, _ = bytes.Cut(rest, []byte("\n"))
	}
	return bytes.Equal(bytes.TrimRight(first, " \t\r"), []byte("#cloud-config"))
}

// Command is the runcmd entry that starts a unit. It waits until the unit's ExecStartPre is through, which the unit bounds:
// that may restart containerd, and kubeadm must find it up. It never fails, as a failing runcmd fails a Machine.
func Command(unit string) string {
	return "systemctl enable --now " + unit + " || true"
}

// Inject returns data with the files written and the unit started at first boot. Entries of ours that data carries
// already are replaced, so that injecting again changes nothing. An error says why data cannot be changed safely, and
// holds nothing of its content.
func Inject(data []byte, files []payload.File, unit string) ([]byte, error) {
	if !Recognised(data) {
		return nil, errNoHeader
	}
	if len(files) == 0 {
		return nil, errNoFiles
	}
	before, err := parse(data)
	if err != nil {
		return nil, err
	}
	out, err := splice(data, before, files, unit)
	if err != nil {
		return nil, err
	}
	after, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("checking the result: %w", err)
	}
	if err := prove(before, after, files, unit); err != nil {
		return nil, err
	}
	return out, nil
}

// splice removes our old entries, then puts the new ones at the head of their lists.
func splice(data []byte, doc *document, files []payload.File, unit string) ([]byte, error) {
	clean := doc.withoutOwn(data, unit)
	doc, err := parse(clean)
	if err != nil {
		return nil, fmt.Errorf("removing earlier entries: %w", err)
	}
	fileLines, commandLines, err := entries(files, unit)
	if err != nil {
		return nil, err
	}
	text := newText(clean)
	if doc.value(writeFiles) == nil {
		text.insert(doc.first(text), 1, append([]string{writeFiles + ":"}, fileLines...))
	} else {
		line, column := doc.head(writeFiles)
		text.insert(line, column, fileLines)
	}
	if doc.value(runcmd) == nil {
		text.insert(text.end(), 1, append([]string{runcmd + ":"}, commandLines...))
	} else {
		line, column := doc.head(runcmd)
		text.insert(line, column, commandLines)
	}
	return text.bytes()
}
