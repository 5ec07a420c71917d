package ignition

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// like is a config of at least n bytes like those that bootstrap providers emit.
func like(version string, n int) []byte {
	var files []file
	for size := 0; size < n; {
		source := "data:;base64," + base64.StdEncoding.EncodeToString(make([]byte, 1500))
		f := file{Path: fmt.Sprintf("/etc/kubernetes/pki/%d.crt", len(files)), Mode: 384, Contents: contents{Source: source}}
		if version < "3" {
			f.Filesystem = root
		}
		files = append(files, f)
		size += len(source) + 80
	}
	out, err := json.Marshal(map[string]any{
		"ignition": map[string]any{"version": version},
		"storage":  map[string]any{"files": files},
		"systemd":  map[string]any{"units": []unit{{Name: "kubeadm.service", Enabled: true, Contents: "[Install]\nWantedBy=multi-user.target\n"}}},
	})
	if err != nil {
		return nil
	}
	return out
}

// BenchmarkInject is to be read against BenchmarkParse, which parses and marshals the same bytes once with the official types:
// C6 asks for a ratio of at most 2.
func BenchmarkInject(b *testing.B) {
	files, err := payload.Packed(realFiles(b, "docker.io", "quay.io", "registry.k8s.io", "ghcr.io"))
	if err != nil {
		b.Fatal(err)
	}
	for _, kib := range []int{4, 64, 512} {
		for _, version := range []string{"3.3.0", "2.3.0"} {
			data := like(version, kib<<10)
			b.Run(fmt.Sprintf("%dKiB/%s", kib, version), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if _, err := Inject(data, files, unitName); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParse leaves 2.3.0 out, whose parser takes half a second for 64 KiB and 24 for 512.
func BenchmarkParse(b *testing.B) {
	for _, kib := range []int{4, 64, 512} {
		data := like("3.3.0", kib<<10)
		b.Run(fmt.Sprintf("%dKiB/3.3.0", kib), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				c, _, err := v3_3.Parse(data)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := json.Marshal(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
