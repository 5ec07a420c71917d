package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const components = `
image: capi-registry-cache/manager:dev
args: [--workload-image=${REGISTRY_CACHE_WORKLOAD_IMAGE:=capi-registry-cache/workload:dev}]
`

// newRelease is one of this repository, with small binaries.
func newRelease(t *testing.T) *release {
	t.Helper()
	g := NewWithT(t)
	t.Chdir(filepath.Join("..", ".."))
	folder := t.TempDir()
	r := &release{
		version: "v0.1.2", components: filepath.Join(folder, "components.yaml"), metadata: "metadata.yaml", templates: filepath.Join("templates", "cluster"),
		managerImage: "registry.example.com/manager:v0.1.2", workloadImage: "registry.example.com:5000/workload:v0.1.2",
		binaries: filepath.Join(folder, "binaries"), plugins: filepath.Join(folder, "plugins"), out: filepath.Join(folder, "out"),
	}
	g.Expect(os.MkdirAll(filepath.Join(r.plugins, "darwin-arm64"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(r.plugins, "darwin-arm64", plugin), []byte("the plugin"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(r.components, []byte(components), 0o600)).To(Succeed())
	for _, platform := range []string{"linux-amd64", "linux-arm64"} {
		g.Expect(os.MkdirAll(filepath.Join(r.binaries, platform), 0o700)).To(Succeed())
		for _, binary := range []string{"manager", "workload", "node-sync"} {
			g.Expect(os.WriteFile(filepath.Join(r.binaries, platform, binary), []byte(binary+" for "+platform), 0o600)).To(Succeed())
		}
	}
	return r
}

func read(t *testing.T, r *release, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.out, "addon-registry-cache", "v0.1.2", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return content
}

func TestAReleaseHasWhatClusterctlReads(t *testing.T) {
	g := NewWithT(t)
	r := newRelease(t)
	g.Expect(r.write()).To(Succeed())
	g.Expect(string(read(t, r, "addon-components.yaml"))).To(Equal(`
image: registry.example.com/manager:v0.1.2
args: [--workload-image=${REGISTRY_CACHE_WORKLOAD_IMAGE:=registry.example.com:5000/workload:v0.1.2}]
`))
	g.Expect(string(read(t, r, "metadata.yaml"))).To(ContainSubstring("v1beta2"))
	g.Expect(read(t, r, "cluster-template-content-from.yaml")).NotTo(BeEmpty())

	g.Expect(filesOf(g, read(t, r, "kubectl-registry_cache-darwin-arm64.tar.gz"))).To(Equal(map[string]string{"kubectl-registry_cache": "0755 the plugin"}))

	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = r.folder()
	out, err := check.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	entries, err := os.ReadDir(r.folder())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Count(out, []byte(": OK"))).To(Equal(len(entries)-1), "all but the list itself")

	first := read(t, r, "SHA256SUMS")
	g.Expect(r.write()).To(Succeed())
	g.Expect(read(t, r, "SHA256SUMS")).To(Equal(first), "the same binaries make the same release")
}

// TestAnImageArchiveIsTheImageOfItsDockerfile reads the archive as an image layout, and as Docker before version 25 does. The e2e specs of
// clusterctl give such archives to Docker.
func TestAnImageArchiveIsTheImageOfItsDockerfile(t *testing.T) {
	g := NewWithT(t)
	r := newRelease(t)
	g.Expect(r.write()).To(Succeed())
	files := map[string][]byte{}
	walk(g, bytes.NewReader(read(t, r, "workload-linux-arm64.tar")), func(header *tar.Header, content []byte) { files[header.Name] = content })
	blob := func(d imagev1.Descriptor) []byte {
		content := files["blobs/sha256/"+d.Digest.Encoded()]
		g.Expect(d.Digest).To(Equal(digest.FromBytes(content)))
		g.Expect(d.Size).To(BeEquivalentTo(len(content)))
		return content
	}
	index, manifest, config := imagev1.Index{}, imagev1.Manifest{}, imagev1.Image{}
	g.Expect(json.Unmarshal(files["index.json"], &index)).To(Succeed())
	g.Expect(string(files["oci-layout"])).To(Equal(`{"imageLayoutVersion":"1.0.0"}`))
	g.Expect(index.Manifests).To(HaveLen(1))
	g.Expect(index.Manifests[0].Annotations).To(HaveKeyWithValue("io.containerd.image.name", "registry.example.com:5000/workload:v0.1.2"))
	g.Expect(index.Manifests[0].Annotations).To(HaveKeyWithValue(imagev1.AnnotationRefName, "v0.1.2"))
	g.Expect(json.Unmarshal(blob(index.Manifests[0]), &manifest)).To(Succeed())
	g.Expect(json.Unmarshal(blob(manifest.Config), &config)).To(Succeed())
	g.Expect(config.Platform).To(Equal(imagev1.Platform{OS: "linux", Architecture: "arm64"}))
	g.Expect(config.Config).To(Equal(imagev1.ImageConfig{
		User: "65532:65532", Entrypoint: []string{"/workload"}, Cmd: []string{"cache", "/etc/distribution/config.yml"},
		ExposedPorts: map[string]struct{}{"5000/tcp": {}, "5001/tcp": {}},
	}))
	layer := blob(manifest.Layers[0])
	g.Expect(filesOf(g, layer)).To(Equal(map[string]string{
		"node-sync": "0755 node-sync for linux-arm64", "workload": "0755 workload for linux-arm64",
	}))

	g.Expect(config.RootFS.DiffIDs).To(Equal([]digest.Digest{digest.FromBytes(unpacked(g, layer))}))

	docker := []dockerManifest{}
	g.Expect(json.Unmarshal(files["manifest.json"], &docker)).To(Succeed())
	g.Expect(docker).To(HaveLen(1))
	g.Expect(docker[0].RepoTags).To(Equal([]string{"registry.example.com:5000/workload:v0.1.2"}))
	g.Expect(files[docker[0].Config]).To(Equal(blob(manifest.Config)))
	g.Expect(files[docker[0].Layers[0]]).To(Equal(blob(manifest.Layers[0])))
}

func unpacked(g *WithT, layer []byte) []byte {
	reader, err := gzip.NewReader(bytes.NewReader(layer))
	g.Expect(err).NotTo(HaveOccurred())
	content, err := io.ReadAll(reader)
	g.Expect(err).NotTo(HaveOccurred())
	return content
}

func filesOf(g *WithT, layer []byte) map[string]string {
	files := map[string]string{}
	walk(g, bytes.NewReader(unpacked(g, layer)), func(header *tar.Header, content []byte) {
		files[header.Name] = fmt.Sprintf("%04o %s", header.Mode, content)
	})
	return files
}

func walk(g *WithT, from io.Reader, see func(*tar.Header, []byte)) {
	reader := tar.NewReader(from)
	for {
		header, err := reader.Next()
		if err == io.EOF { //nolint:errorlint // as it is documented
			return
		}
		g.Expect(err).NotTo(HaveOccurred())
		content, err := io.ReadAll(reader)
		g.Expect(err).NotTo(HaveOccurred())
		see(header, content)
	}
}

func TestAReleaseThatClusterctlWouldRefuseIsNotMade(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*release)
		want   string
	}{
		"a version of no release series": {func(r *release) { r.version = "v7.0.0" }, "version v7.0.0: metadata.yaml has no release series for it"},
		"a version that is none":         {func(r *release) { r.version = "latest" }, `version "latest"`},
		"an image without a registry":    {func(r *release) { r.managerImage = "manager:v1" }, `image "manager:v1"`},
		"an image without a tag":         {func(r *release) { r.workloadImage = "registry.example.com/workload" }, "has no tag; accepted are"},
		"no templates":                   {func(r *release) { r.templates = "config" }, "config holds no YAML file"},
		"no plugin":                      {func(r *release) { r.plugins = "config" }, "archive of the plugin for"},
		"no binaries":                    {func(r *release) { r.binaries = "config/samples" }, "archive of"},
		"components without our images":  {func(r *release) { r.components = "metadata.yaml" }, "0 times; accepted is once"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelease(t)
			tc.change(r)
			NewWithT(t).Expect(r.write()).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func TestADockerfileThatIsNotUnderstoodIsAnError(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"another base":         {"FROM debian", `line 1, "FROM debian": not understood`},
		"another instruction":  {"FROM scratch\nRUN true", `line 2, "RUN true": not understood`},
		"a folder":             {"FROM scratch\nCOPY a b /", "not understood"},
		"an entrypoint string": {"FROM scratch\nENTRYPOINT /manager", "invalid character"},
		"nothing":              {"FROM scratch\n", "copies nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDockerfile(tc.content)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}
