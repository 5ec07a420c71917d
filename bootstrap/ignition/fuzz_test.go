package ignition

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func FuzzInject(f *testing.F) {
	for _, name := range slices.Concat(twos, threes) {
		f.Add(read(f, name))
		f.Add(injected(f, read(f, name), realFiles(f, "docker.io", "quay.io")))
	}
	for _, s := range []string{
		"", "{", `{"ignition":`, "\ufeff{}", `{"ignition":{"version":"3.7.0-experimental"}}`, `{"ignition":{"version":"2.5.0"}}`,
		full, spelt(`,"storage":{"files":[{"path":"/a"},<F>,{"path":"/b"}, <F> ]},"systemd":{"units":[<U>,{"name":"a.service"}]}`),
		spelt(`,"storage":null,"systemd":{"units":null}`), spelt(`,"Storage":{},"storage":{}`), spelt(`,"x":[1e400,-0,"\ud800"]`),
		spelt(`,"storage":{"links":[{"path":"/opt","target":"/x"}],"directories":[{"path":"/etc"}]}`),
		around("3.3.0", "replace", gzipURL(f, full), `,"compression":"gzip"`), around("3.0.0", "replace", "data:,%7B%7D", ""),
		around("2.3.0", "replace", base64URL(bare), `,"verification":{"hash":"sha512-00"}`),
		merging("3.4.0", "merge", base64URL(full), "https://a.example"), merging("2.4.0", "append", base64URL(full)), deep(4), deep(5),
	} {
		f.Add([]byte(s))
	}
	files := oneFile()
	f.Fuzz(func(t *testing.T, data []byte) {
		given := slices.Clone(data)
		out, err := Inject(data, files, unitName)
		if !bytes.Equal(data, given) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if out != nil {
				t.Fatal("an error comes with data")
			}
			return
		}
		again, err := Inject(out, files, unitName)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("I4: %v\n%q\n%q", err, out, again)
		}
		if _, _, err := official[specVersion(out)](out); err != nil {
			t.Fatalf("the official parser: %v", err)
		}
		before, after := foreignOf(t, data), foreignOf(t, out)
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("I4: the foreign part was\n%v\nis\n%v", before, after)
		}
	})
}

func specVersion(config []byte) string {
	var c struct{ Ignition struct{ Version string } }
	if json.Unmarshal(config, &c) != nil {
		return ""
	}
	return c.Ignition.Version
}

// foreignOf is what is foreign in a config, except in configs within it.
func foreignOf(t *testing.T, config []byte) map[string]any {
	var v map[string]any
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if ignition := v["ignition"].(map[string]any); ignition["config"] != nil {
		v["ignition"] = strings.Join(slices.Sorted(func(yield func(string) bool) {
			for k := range ignition {
				if !yield(k) {
					return
				}
			}
		}), " ")
	}
	foreign, _, _ := apart(v)
	return foreign
}
