//go:build e2e

package boot

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// On a machine one cache answers, the other does not.
const (
	answering = "http://127.0.0.1:5000"
	silent    = "http://127.0.0.1:5001"
)

var values = payload.Values{Caches: []payload.Cache{
	{Upstream: "docker.io", Endpoint: answering},
	{Upstream: "registry.example:5443", Endpoint: silent},
}}

// containerdConfig is what our script makes where containerd has no configuration and does not read the directory.
const containerdConfig = payload.Marker + "\nversion = 2 " + payload.Marker + "\n[plugins.\"io.containerd.grpc.v1.cri\".registry] " + payload.Marker + "\nconfig_path = \"/etc/containerd/certs.d\" " + payload.Marker + "\n"

// samples are the names of the inputs among the samples of a package.
func samples(pkg, pattern string) []string {
	paths, err := filepath.Glob(sample(pkg, pattern))
	if err != nil {
		Fail(err.Error())
	}
	var names []string
	for _, p := range paths {
		if !strings.Contains(p, ".golden.") {
			names = append(names, filepath.Base(p))
		}
	}
	return names
}

func sample(pkg, name string) string {
	return filepath.Join("..", "..", "bootstrap", pkg, "testdata", name)
}

func read(pkg, name string) []byte {
	GinkgoHelper()
	data, err := os.ReadFile(sample(pkg, name))
	Expect(err).NotTo(HaveOccurred())
	return data
}

// slow are samples of forms that others have as well.
var slow = []string{
	"join-control-plane.yaml", "jinja-unquoted.txt", "k0smotron-vars.txt.gz", "mime-nested.txt.gz", "mime-single.txt", "script-no-end.txt",
	"kubeadm-join-control-plane.ign",
}

func entries(names ...string) []TableEntry {
	var all []TableEntry
	for _, name := range names {
		var labels Labels
		if slices.Contains(slow, name) {
			labels = Label("slow")
		}
		all = append(all, Entry(name, name, labels, SpecTimeout(15*time.Minute)))
	}
	return all
}

func zipped(data []byte) []byte {
	GinkgoHelper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	Expect(err).NotTo(HaveOccurred())
	Expect(w.Close()).To(Succeed())
	return out.Bytes()
}

// injected is data with the payload.
func injected(data []byte) []byte {
	GinkgoHelper()
	result := bootstrap.Inject(data, "", values)
	Expect(result.Reason).To(BeEmpty())
	Expect(result.Injected).To(BeTrue())
	return result.Data
}

// withOurs are the files of a machine and those that the payload adds.
func withOurs(before map[string]string) map[string]string {
	GinkgoHelper()
	files, err := payload.Files(values)
	Expect(err).NotTo(HaveOccurred())
	all := map[string]string{
		"/etc/systemd/system/multi-user.target.wants/" + payload.UnitName: fmt.Sprintf("%s 0:0 %s\n",
			fs.ModeSymlink|0o777, "/etc/systemd/system/"+payload.UnitName),
		"/etc/containerd/config.toml": file(0o644, containerdConfig),
		"/etc/containerd/conf.d":      file(fs.ModeDir|0o755, ""), // where a drop-in would be
	}
	for _, f := range files {
		all[f.Path] = file(f.Mode, string(f.Content))
		if strings.HasSuffix(f.Path, "/docker.io/hosts.toml") {
			all["/etc/containerd/certs.d/docker.io/hosts.toml"] = file(0o644, string(f.Content))
		}
	}
	expected := maps.Clone(before)
	for p, description := range all {
		expected[p] = description
		for dir := path.Dir(p); expected[dir] == ""; dir = path.Dir(dir) {
			expected[dir] = file(fs.ModeDir|0o755, "")
		}
	}
	return expected
}

func file(mode fs.FileMode, content string) string { return fmt.Sprintf("%s 0:0 \n%s", mode, content) }
