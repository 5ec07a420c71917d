package cloudinit

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// benchData are the same 4, 64 and 512 KiB in the forms that are benchmarked.
func benchData(b *testing.B, kib int) map[string][]byte {
	b.Helper()
	yes := likeKubeadm(kib << 10)
	old, err := Inject(yes, someFiles(), unit)
	if err != nil {
		b.Fatal(err)
	}
	return map[string][]byte{"cloud-config": yes, "replace": old, "gzip": []byte(zipText(b, string(yes)))}
}

// BenchmarkInject is to be read against BenchmarkYAML: C6 asks for a ratio of at most 2.
func BenchmarkInject(b *testing.B) {
	files := realFiles(b)
	bench(b, func(data []byte) error {
		_, err := Inject(data, files, unit)
		return err
	})
}

// BenchmarkYAML decodes and encodes the same bytes once, and does no more with compressed ones than that takes.
func BenchmarkYAML(b *testing.B) {
	bench(b, func(data []byte) error {
		if !zipped(data) {
			return decodeAndEncode(data, io.Discard)
		}
		text, err := gunzip(data)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := decodeAndEncode(text, &out); err != nil {
			return err
		}
		_, err = payload.Gzip(out.Bytes())
		return err
	})
}

func bench(b *testing.B, do func([]byte) error) {
	for _, kib := range []int{4, 64, 512} {
		for name, data := range benchData(b, kib) {
			b.Run(fmt.Sprintf("%dKiB/%s", kib, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if err := do(data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func decodeAndEncode(data []byte, out io.Writer) error {
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return err
	}
	return yaml.NewEncoder(out).Encode(&node)
}
