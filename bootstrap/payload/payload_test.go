package payload

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/pelletier/go-toml/v2"
)

func TestFiles_are_complete_and_in_order(t *testing.T) {
	g := NewWithT(t)
	files, err := Files(Values{CertsDir: "/etc/certs.d", Caches: []Cache{other, hub}})
	g.Expect(err).NotTo(HaveOccurred())
	var paths []string
	for _, f := range files {
		g.Expect(Owned(f.Path)).To(BeTrue(), f.Path)
		paths = append(paths, f.Path+" "+f.Mode.String())
	}
	g.Expect(paths).To(Equal([]string{
		"/opt/bin/configure-containerd-registries.sh -rwxr-xr-x",
		"/etc/systemd/system/configure-containerd-registries.service -rw-r--r--",
		"/etc/capi-registry-cache/certs-dir -rw-r--r--",
		"/etc/capi-registry-cache/upstreams/registry.example:5443/probe -rw-r--r--",
		"/etc/capi-registry-cache/upstreams/registry.example:5443/hosts.toml -rw-r--r--",
		"/etc/capi-registry-cache/upstreams/docker.io/probe -rw-r--r--",
		"/etc/capi-registry-cache/upstreams/docker.io/hosts.toml -rw-r--r--",
	}))
	g.Expect(string(files[2].Content)).To(Equal("/etc/certs.d\n"))
	g.Expect(string(files[3].Content)).To(Equal("http://10.0.0.2:5000/v2/?ns=registry.example%3A5443\n"))
}

func TestFiles_hosts_toml_names_the_cache_and_nothing_else(t *testing.T) {
	g := NewWithT(t)
	files, err := Files(Values{Caches: []Cache{hub, {Upstream: "quay.io", Endpoint: "http://[fd00::fa]:5000"}}})
	g.Expect(err).NotTo(HaveOccurred())
	for path, endpoint := range map[string]string{
		"docker.io/hosts.toml":  hub.Endpoint,
		"quay.io/hosts.toml":    "http://[fd00::fa]:5000",
		"quay.io/v1-hosts.toml": "http://[fd00::fa]:5000",
	} {
		i := slices.IndexFunc(files, func(f File) bool { return strings.HasSuffix(f.Path, "/upstreams/"+path) })
		g.Expect(string(files[i].Content)).To(HavePrefix(Marker + "\n"))
		var got map[string]any
		g.Expect(toml.Unmarshal(files[i].Content, &got)).To(Succeed())
		g.Expect(got).To(Equal(map[string]any{"host": map[string]any{endpoint: map[string]any{
			"capabilities": []any{"pull", "resolve"}, "dial_timeout": "100ms",
		}}}))
	}
	g.Expect(files).To(HaveLen(3+2+3), "no second form where the first serves all versions")
}

func TestFiles_of_a_cache_with_a_CA_of_its_own(t *testing.T) {
	g := NewWithT(t)
	ca := slices.Concat([]byte("subject=somebody else\n"), anotherCA)
	files, err := Files(Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: "https://10.0.0.1:5000", CA: ca}}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files[4]).To(Equal(File{
		Path: "/etc/capi-registry-cache/upstreams/docker.io/ca.pem", Mode: 0o644, Content: slices.Concat([]byte(Marker+"\n"), anotherCA),
	}))
	var got struct{ Host map[string]host }
	g.Expect(toml.NewDecoder(bytes.NewReader(files[5].Content)).DisallowUnknownFields().Decode(&got)).To(Succeed())
	g.Expect(got.Host["https://10.0.0.1:5000"].CA).To(Equal("ca.pem"))
}

func TestFiles_rejects_what_a_node_could_not_use(t *testing.T) {
	for name, tc := range map[string]struct {
		values Values
		reason string
	}{
		"relative directory":     {Values{CertsDir: "certs.d"}, `certsDir "certs.d"`},
		"list of directories":    {Values{CertsDir: "/a:/b"}, `certsDir "/a:/b"`},
		"directory with dots":    {Values{CertsDir: "/a/../b"}, `certsDir "/a/../b"`},
		"upstream with a scheme": {Values{Caches: []Cache{{Upstream: "https://docker.io", Endpoint: hub.Endpoint}}}, `upstream "https://docker.io"`},
		"upstream as a path":     {Values{Caches: []Cache{{Upstream: "a/../b", Endpoint: hub.Endpoint}}}, `upstream "a/../b"`},
		"upstream of dots":       {Values{Caches: []Cache{{Upstream: "..", Endpoint: hub.Endpoint}}}, `upstream ".."`},
		"upstream twice":         {Values{Caches: []Cache{hub, hub}}, `upstream "docker.io": occurs twice`},
		"endpoint, empty":        {Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: ""}}}, `endpoint ""`},
		"endpoint, no scheme":    {Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: "10.0.0.1:5000"}}}, "is accepted"},
		"endpoint with a path":   {Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: "http://10.0.0.1:5000/v2"}}}, "is accepted"},
		"endpoint with a user":   {Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: "http://a@10.0.0.1:5000"}}}, "is accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := Files(tc.values)
			g.Expect(err).To(MatchError(ContainSubstring(tc.reason)))
		})
	}
}

func TestFiles_rejects_a_CA_that_is_none_and_quotes_nothing_of_it(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	const endpoint = "https://10.0.0.1:5000"
	for name, c := range map[string]Cache{
		"without TLS":                   {Endpoint: hub.Endpoint, CA: anotherCA},
		"no PEM":                        {Endpoint: endpoint, CA: []byte("secret")},
		"a key":                         {Endpoint: endpoint, CA: key},
		"a key after a certificate":     {Endpoint: endpoint, CA: slices.Concat(anotherCA, key)},
		"PEM that is no certificate":    {Endpoint: endpoint, CA: bytes.ReplaceAll(key, []byte("PRIVATE KEY"), []byte("CERTIFICATE"))},
		"cut off":                       {Endpoint: endpoint, CA: anotherCA[:len(anotherCA)/2]},
		"something after a certificate": {Endpoint: endpoint, CA: slices.Concat(anotherCA, []byte("secret"))},
		"blanks where a CA might be":    {Endpoint: endpoint, CA: []byte(" \n")},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c.Upstream = "docker.io"
			_, err := Files(Values{Caches: []Cache{c}})
			g.Expect(err).To(MatchError("upstream docker.io: ca: certificates in PEM, and nothing else, are accepted, for an https endpoint"))
		})
	}
}

func TestOwned_only_our_paths(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Owned("/etc/capi-registry-cache/upstreams/x/probe")).To(BeTrue())
	for _, p := range []string{"", "/etc/containerd/certs.d/docker.io/hosts.toml", "/etc/capi-registry-cache-x", "/etc/capi-registry-cache/../passwd"} {
		g.Expect(Owned(p)).To(BeFalse(), p)
	}
}

func TestStrip_leaves_a_script_that_every_shell_parses(t *testing.T) {
	g := NewWithT(t)
	short := strip(script)
	g.Expect(short).To(HavePrefix("#!/bin/sh\n" + Marker + "\n"))
	g.Expect(strings.Count(short, "\n")).To(BeNumerically("<", strings.Count(script, "\n")))
	path := filepath.Join(t.TempDir(), "script")
	g.Expect(os.WriteFile(path, []byte(short), 0o644)).To(Succeed())
	for _, shell := range shells {
		out, err := exec.Command(shell[0], append(shell[1:], "-n", path)...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
	}
}
