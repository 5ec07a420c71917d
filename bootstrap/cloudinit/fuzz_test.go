package cloudinit

import (
	"bytes"
	"slices"
	"testing"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

func FuzzInject(f *testing.F) {
	for _, name := range slices.Concat(plain, others) {
		f.Add(read(f, name))
	}
	for _, name := range []string{"join-worker.golden.yaml", "k0smotron-repeated.yaml"} {
		f.Add(read(f, name))
	}
	for _, name := range []string{"k3s-agent.yaml", "script.txt", "mime-eks.txt"} {
		f.Add([]byte(zipText(f, string(read(f, name)))))
		out, err := Inject(read(f, name), realFiles(f), unit)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	for _, s := range []string{
		"", "a: |+\n  b\n\n\n", "runcmd:\n- |\n  a\n\n- b", "write_files:\n  - {path: /a}\n", "runcmd: []", "a: &x [b]\nruncmd:\n- *x\n",
		"write_files:\n- path: /etc/capi-registry-cache/x\n  content: >\n   a\n\n   # b\n# c\nruncmd:\n", "--- # x\na: b\n...", "a: \u2028b\nruncmd:\r- a\r",
		"runcmd:\n- |\n  {%- if a -%}\n  {{ b }}{# c #}\n  {% endif +%}\n- '{% raw %}{{{% endraw %}'\n", "# {% set a %}\nb: {{ '}}' }}\n",
	} {
		f.Add([]byte("#cloud-config\n" + s))
		f.Add([]byte("## template: jinja\n#cloud-config\n" + s))
	}
	for _, s := range []string{
		"#include\n", "## template: jinja\n{% if a %}", "\ufeff#cloud-config\n", "\x1f\x8b\x08\x00",
		"A: b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/a; boundary=\"a b\"\r\n\r\n--a b\r\n\r\n--a b \r\n\r\n\r\n--a b--c\r\n--a b--",
	} {
		f.Add([]byte(s))
	}
	files := someFiles()
	f.Fuzz(func(t *testing.T, data []byte) {
		given := slices.Clone(data)
		out, err := Inject(data, files, unit)
		if !bytes.Equal(data, given) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if out != nil {
				t.Fatal("an error comes with data")
			}
			return
		}
		if FormOf(data) == None || FormOf(out) == None {
			t.Fatal("injected into what is not recognised")
		}
		again, err := Inject(out, files, unit)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("I4: %v\n%q\n%q", err, out, again)
		}
		if !bytes.Contains(data, []byte("capi-registry-cache")) && !kept(data, out) {
			t.Fatalf("%q\n%q", data, out)
		}
	})
}

// kept tells, in a way of its own, whether data without anything of ours is in the result, byte for byte.
func kept(data, out []byte) bool {
	switch FormOf(data) {
	case Gzip:
		inner, err := gunzip(data)
		outer, outerErr := gunzip(out)
		return err == nil && outerErr == nil && kept(inner, outer)
	case CloudConfig:
		if FormOf(out) == CloudConfig {
			return linesIn(data, out)
		}
	case MIME:
		if bytes.HasPrefix(out, data[:8]) {
			m, err := readMessage(out)
			return err == nil && bytes.Equal(slices.Concat(m.head, slices.Concat(m.parts[:len(m.parts)-1]...), m.tail), data)
		}
		return bytes.Contains(out, data)
	}
	return bytes.Contains(out, data) || bytes.Contains(out, []byte(payload.Base64Lines(data, payload.MIMELine)))
}

// linesIn tells whether all lines of data are in out, in order.
func linesIn(data, out []byte) bool {
	rest := bytes.SplitAfter(out, []byte("\n"))
	for _, line := range bytes.SplitAfter(data, []byte("\n")) {
		i := slices.IndexFunc(rest, func(l []byte) bool {
			return bytes.Equal(bytes.TrimSuffix(l, []byte("\n")), bytes.TrimSuffix(line, []byte("\n")))
		})
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return true
}

// FuzzKeepsShape compares the short way of keepsShape with the long one.
func FuzzKeepsShape(f *testing.F) {
	for _, s := range []string{
		"a: '{{ b }}'\n", "a: {{ b }}\n", "a: [{{ b }}]\n", "- {{b}} c\n", "? {{ a }}\n: b\n", "'{{ a }}': b\n", "{{ a }}: b\n", "# {{ a }}\n",
		"a: &b {{ c }}\n", "a: !{{ b }} c\n", "a: |\n  {{ b }}\n {{ c }}\n", "a: \"\\\n {{ b }}\\\n\"\n", "{a: {{ b }}}\n", "a{{b}}: c\n", "- - {{ a }}: [b\n", "a: >-2\n   {{ b }}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = append([]byte("## template: jinja\n#cloud-config\n"), data...)
		root, err := decode(data)
		if err != nil || intricate(data) || braces(root) {
			return
		}
		masked, err := decode(mask(data))
		if err != nil || !sameShape(root, masked) {
			t.Fatalf("%q\n%q", data, mask(data))
		}
	})
}
