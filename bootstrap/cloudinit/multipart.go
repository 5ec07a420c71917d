package cloudinit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

const (
	ownType        = "text/x-shellscript"
	ownDisposition = `attachment; filename="` + scriptName + `"`
)

// intoMessage puts our part behind the others of a multipart message; a message that is one part becomes one of two.
func (b *bundle) intoMessage(data []byte) ([]byte, error) {
	if err := checkText(data); err != nil {
		return nil, err
	}
	mediaType, _, body, err := headers(data)
	if err != nil {
		return nil, err
	}
	switch main, _, _ := strings.Cut(mediaType, "/"); main {
	case "multipart":
		m, err := readMessage(data)
		if err != nil {
			return nil, err
		}
		m.dropOwn()
		return b.behind(m)
	case "text", "application":
		return b.around(data[:body], data[body:])
	}
	return nil, errType
}

// aroundText is a message of a part that holds data, for cloud-init to find out its type, and ours. Text that is not plain
// ASCII is encoded, as cloud-init misreads it otherwise.
func (b *bundle) aroundText(data []byte) ([]byte, error) {
	header, body := "Content-Type: text/plain\n\n", data
	if bytes.ContainsFunc(data, func(r rune) bool { return (r < ' ' && r != '\n' && r != '\t') || r > '~' }) {
		header, body = "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n", []byte(payload.Base64Lines(data, payload.MIMELine))
		read, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
		if err != nil || !bytes.Equal(read, data) {
			return nil, errForeign
		}
	}
	return b.around([]byte(header), body)
}

// around is a message of a part, given as its headers and its body, and ours.
func (b *bundle) around(header, body []byte) ([]byte, error) {
	sum := sha256.Sum256(slices.Concat(header, body))
	boundary := "crc-" + hex.EncodeToString(sum[:4])
	m, err := readMessage(slices.Concat(
		[]byte("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="+boundary+"\n\n--"+boundary+"\n"),
		header, body, []byte("\n--"+boundary+"--\n")))
	if err != nil {
		return nil, err
	}
	if len(m.read) != 1 || !bytes.Equal(m.read[0].body, body) {
		return nil, errForeign
	}
	return b.behind(m)
}

// behind is a message with our part behind the others.
func (b *bundle) behind(m *message) ([]byte, error) {
	own := m.delimiter + m.eol + "Content-Type: " + ownType + m.eol + "Content-Disposition: " + ownDisposition + m.eol + m.eol +
		b.script + m.eol
	out := slices.Concat(m.head, slices.Concat(m.parts...), []byte(own), m.tail)
	after, err := readMessage(out)
	if err != nil {
		return nil, err
	}
	if err := b.proveMessage(m, after); err != nil {
		return nil, err
	}
	if FormOf(out) != MIME {
		return nil, errUnseen
	}
	return out, nil
}

// proveMessage compares what was read before with what is read after: every foreign byte must be there, every foreign part
// be read as before, and ours be there once, as the last.
func (b *bundle) proveMessage(before, after *message) error {
	if len(after.read) != len(before.read)+1 {
		return errTwoReads
	}
	last := len(before.read)
	if !bytes.Equal(before.head, after.head) || !bytes.Equal(before.tail, after.tail) ||
		!slices.EqualFunc(before.parts, after.parts[:last], bytes.Equal) ||
		!slices.EqualFunc(before.read, after.read[:last], samePart) {
		return errForeign
	}
	if p := after.read[last]; !p.own() || p.header.Get("Content-Type") != ownType || string(p.body) != b.script {
		return errOwn
	}
	for _, p := range before.parts {
		if bytes.Contains(p, []byte(scriptName)) {
			return errNested
		}
	}
	return nil
}

func samePart(a, b part) bool {
	return bytes.Equal(a.body, b.body) && maps.EqualFunc(a.header, b.header, slices.Equal)
}

// own tells whether a part is ours, of this or of an earlier payload.
func (p part) own() bool {
	return p.header.Get("Content-Disposition") == ownDisposition &&
		bytes.HasPrefix(p.body, []byte("#!/bin/sh\n"+payload.Marker+"\n"))
}

func (m *message) dropOwn() {
	var parts [][]byte
	var read []part
	for i, p := range m.read {
		if !p.own() {
			parts, read = append(parts, m.parts[i]), append(read, p)
		}
	}
	m.parts, m.read = parts, read
}
