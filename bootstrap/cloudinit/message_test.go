package cloudinit

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// ownPart is our part as it stands in a message.
func ownPart(t testing.TB, m *message) string {
	return m.delimiter + m.eol + "Content-Type: text/x-shellscript" + m.eol + `Content-Disposition: attachment; filename="0-capi-registry-cache"` +
		m.eol + m.eol + someBundle(t).script + m.eol
}

func TestInject_puts_its_part_behind_the_others_and_keeps_every_byte(t *testing.T) {
	for _, name := range []string{"mime-nested.txt", "mime-eks.txt"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name)
			out, err := Inject(in, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			before, err := readMessage(in)
			g.Expect(err).NotTo(HaveOccurred())
			after, err := readMessage(out)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(after.read[:len(before.read)]).To(Equal(before.read))
			g.Expect(after.read).To(HaveLen(len(before.read) + 1))
			own := ownPart(t, after)
			g.Expect(strings.Replace(string(out), own, "", 1)).To(Equal(string(in)))
			g.Expect(string(out)).To(HaveSuffix(own + string(after.tail)))
		})
	}
}

func TestInject_wraps_data_so_that_it_is_read_as_it_was(t *testing.T) {
	for name, data := range map[string]string{
		"plain":                      "#!/bin/sh\n\techo ~\n",
		"no line break at the end":   "#!/bin/sh",
		"many":                       "#!/bin/sh\n\n\n",
		"letters":                    "#!/bin/sh\necho é — 🙂\n",
		"bytes":                      "#!/bin/sh\n\xff\xfe\x00\x7f\n",
		"line breaks of two systems": "#!/bin/sh\r\necho\r\r\n\n",
		"a form feed":                "#!/bin/sh\n\f",
		"what looks like MIME":       "#!/bin/sh\n--crc-\nMIME-Version: 1.0\n--\n",
		"a long line":                "#!/bin/sh\n" + strings.Repeat("a", 100<<10),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := Inject([]byte(data), someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			m, err := readMessage(out)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(m.read).To(HaveLen(2))
			g.Expect(decoded(g, m.read[0])).To(Equal(data))
			g.Expect(decoded(g, m.read[1])).To(Equal(someBundle(t).script))
			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(string(out)), "I4")
		})
	}
}

func decoded(g *WithT, p part) string {
	if p.header.Get("Content-Transfer-Encoding") != "base64" {
		return string(p.body)
	}
	out, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(p.body)))
	g.Expect(err).NotTo(HaveOccurred())
	return string(out)
}

func TestInject_replaces_its_earlier_part_wherever_it_stands(t *testing.T) {
	g := NewWithT(t)
	old := []payload.File{{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("/old\n")}}
	for _, name := range []string{"script.txt", "mime-nested.txt", "mime-eks.txt", "mime-single.txt", "k0smotron-vars.txt"} {
		before, err := Inject(read(t, name), old, unit)
		g.Expect(err).NotTo(HaveOccurred())
		want, err := Inject(read(t, name), someFiles(), unit)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(Inject(before, someFiles(), unit)).To(Equal(want), name)

		m, err := readMessage(before)
		g.Expect(err).NotTo(HaveOccurred())
		last := len(m.parts) - 1
		moved := append([][]byte{m.head, m.parts[last], m.parts[last]}, append(m.parts[:last:last], m.tail)...)
		g.Expect(Inject(bytes.Join(moved, nil), someFiles(), unit)).To(Equal(want), name)
	}
}

func TestInject_refuses_a_message_that_it_cannot_change_safely(t *testing.T) {
	const h = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
	const part = "--b\nContent-Type: text/plain\n\n#!/bin/sh\n# secret\n\n"
	for name, tc := range map[string]struct{ in, reason string }{
		"no blank line":                 {h, "headers of the MIME message"},
		"a line that is no header":      {"MIME-Version: 1.0\nsecret\nContent-Type: text/plain\n\na", "headers of the MIME message"},
		"no type":                       {"MIME-Version: 1.0\n\n#!/bin/sh\n", "headers of the MIME message"},
		"two types":                     {"Content-Type: text/plain\n" + h + "\n" + part + "--b--", "headers of the MIME message"},
		"a broken type":                 {"MIME-Version: 1.0\nContent-Type: secret secret\n\na", "Content-Type of the MIME message"},
		"another type":                  {"MIME-Version: 1.0\nContent-Type: message/rfc822\n\na", "Content-Type of the MIME message"},
		"no boundary":                   {"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n" + part, "Content-Type of the MIME message"},
		"a boundary of other letters":   {"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b<\"\n\n--b<\n\na\n--b<--\n", "Content-Type of the MIME message"},
		"no parts":                      {h + "\nsecret", "no parts, or no end"},
		"no part before the end":        {h + "\n--b--\n" + part, "no parts, or no end"},
		"no end":                        {h + "\n" + part, "no parts, or no end"},
		"another end":                   {h + "\n" + part + "--c--\n", "no parts, or no end"},
		"a part without blank line":     {h + "\n--b\nsecret\n--b--\n", "no parts, or no end"},
		"line breaks of two systems":    {h + "\n--b\n\n#!/bin/sh\n--b\r\n\na\n--b--\n", "no parts, or no end"},
		"a lone carriage return":        {h + "\n" + part + "a\r--b\n--b--\n", "not text as cloud-init reads it"},
		"not UTF-8":                     {h + "\n" + part + "\xe9\n--b--\n", "not text as cloud-init reads it"},
		"our part in a nested one":      {h + "\n--b\n" + string(read(t, "script.golden.txt")) + "\n--b--\n", "where it cannot be replaced"},
		"a part of our name":            {h + "\n--b\nContent-Disposition: attachment; filename=0-capi-registry-cache\n\n#!/bin/sh\n# secret\n--b--\n", "where it cannot be replaced"},
		"a script that knows our name":  {"#!/bin/sh\nrm /var/lib/cloud/instance/scripts/0-capi-registry-cache # secret\n", "where it cannot be replaced"},
		"its only sign in the epilogue": {"A: b\nContent-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("x", 3800) + "\n" + part + "--b--\nMIME-Version: 1.0\n", "would no longer be seen"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, []byte(tc.in), tc.reason) })
	}
}
