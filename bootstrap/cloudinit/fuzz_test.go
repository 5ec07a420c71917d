package cloudinit

import (
	"bytes"
	"slices"
	"testing"
)

func FuzzInject(f *testing.F) {
	for _, name := range []string{"init.yaml", "join-control-plane.yaml", "join-worker.yaml", "join-worker.golden.yaml"} {
		f.Add(read(f, name))
	}
	for _, s := range []string{
		"", "a: |+\n  b\n\n\n", "runcmd:\n- |\n  a\n\n- b", "write_files:\n  - {path: /a}\n", "runcmd: []", "a: &x [b]\nruncmd:\n- *x\n",
		"write_files:\n- path: /etc/capi-registry-cache/x\n  content: >\n   a\n\n   # b\n# c\nruncmd:\n", "--- # x\na: b\n...", "a: \u2028b\nruncmd:\r- a\r",
	} {
		f.Add([]byte("#cloud-config\n" + s))
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
		again, err := Inject(out, files, unit)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("I4: %v\n%q\n%q", err, out, again)
		}
	})
}
