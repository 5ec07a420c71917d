package cloudinit

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"go.yaml.in/yaml/v3"
)

// BenchmarkInject is to be read against BenchmarkYAML, which decodes and encodes the same bytes once: C6 asks for a ratio of
// at most 2.
func BenchmarkInject(b *testing.B) {
	files := realFiles(b)
	for _, kib := range []int{4, 64, 512} {
		yes := likeKubeadm(kib << 10)
		for name, data := range map[string][]byte{
			"cloud-config": yes,
			"replace":      injected(b, yes),
			"script":       bytes.Replace(yes, []byte("## template: jinja\n#cloud-config"), []byte("#!/bin/sh"), 1),
			"gzip":         []byte(zipText(b, string(yes))),
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", kib, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if _, err := Inject(data, files, unit); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func injected(b *testing.B, data []byte) []byte {
	b.Helper()
	out, err := Inject(data, someFiles(), unit)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func BenchmarkYAML(b *testing.B) {
	for _, kib := range []int{4, 64, 512} {
		data := likeKubeadm(kib << 10)
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var node yaml.Node
				if err := yaml.Unmarshal(data, &node); err != nil {
					b.Fatal(err)
				}
				if err := yaml.NewEncoder(io.Discard).Encode(&node); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
