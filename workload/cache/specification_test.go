package cache_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The cases of "Pull" in the OCI distribution specification
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull), on a cold cache, on a warm one, and without
// the upstream.

// kind is a kind of manifest.
type kind struct {
	mediaType string
	manifest  map[string]any
}

func descriptor(mediaType, content string) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(content), "size": len(content)}
}

// kinds returns manifests whose blobs, and the manifests that the lists name, are at the upstream.
func kinds(t *testing.T, up *upstream) map[string]kind {
	t.Helper()
	config, layer := `{"architecture":"arm64","os":"linux"}`, strings.Repeat("layer\n", 1000)
	up.pushBlob(t, config)
	up.pushBlob(t, layer)
	image := up.push(t, "of-the-lists")
	member := descriptor(manifestType, image.manifest)
	member["platform"] = map[string]any{"architecture": "amd64", "os": "linux"}
	return map[string]kind{
		"an OCI image with a zstd layer": {manifestType, map[string]any{
			"schemaVersion": 2, "config": descriptor("application/vnd.oci.image.config.v1+json", config),
			"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar+zstd", layer)},
		}},
		"an OCI artifact": {manifestType, map[string]any{
			"schemaVersion": 2, "mediaType": manifestType, "artifactType": "application/vnd.example.signature",
			"config": descriptor("application/vnd.oci.empty.v1+json", config), "layers": []any{descriptor("application/octet-stream", layer)},
			"subject": descriptor(manifestType, image.manifest),
		}},
		"a Docker image": {"application/vnd.docker.distribution.manifest.v2+json", map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
			"config": descriptor("application/vnd.docker.container.image.v1+json", config),
			"layers": []any{descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)},
		}},
		"an OCI index": {"application/vnd.oci.image.index.v1+json", map[string]any{
			"schemaVersion": 2, "manifests": []any{member},
		}},
		"a Docker manifest list": {"application/vnd.docker.distribution.manifest.list.v2+json", map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": []any{member},
		}},
	}
}

func TestEveryKindOfManifestIsPulledAsItIs(t *testing.T) {
	up := newUpstream(t)
	p := startCache(t, settings{remoteURL: up.URL})
	tag := 0
	contents := map[string]string{}
	all := kinds(t, up)
	for name, k := range all {
		g := NewWithT(t)
		tag++
		content, err := json.Marshal(k.manifest)
		g.Expect(err).NotTo(HaveOccurred())
		contents[name] = string(content)
		k.manifest["tag"] = fmt.Sprintf("v%d", tag)
		put := send(t, http.MethodPut, manifestURL(up.URL, k.manifest["tag"].(string)), string(content), k.mediaType)
		g.Expect(put.status).To(Equal(http.StatusCreated), put.body)
	}
	check := func(t *testing.T, name string, k kind) {
		t.Helper()
		g := NewWithT(t)
		content := contents[name]
		for _, reference := range []string{k.manifest["tag"].(string), digest(content)} {
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				answer := send(t, method, manifestURL(p.registry, reference), "", "")
				g.Expect(answer.status).To(Equal(http.StatusOK), reference)
				g.Expect(answer.header.Get("Content-Type")).To(Equal(k.mediaType))
				g.Expect(answer.header.Get("Docker-Content-Digest")).To(Equal(digest(content)))
				g.Expect(answer.header.Get("Content-Length")).To(Equal(fmt.Sprint(len(content))))
				g.Expect(answer.header.Get("Docker-Distribution-Api-Version")).To(Equal("registry/2.0"))
				if method == http.MethodGet {
					g.Expect(answer.body).To(Equal(content), "not a byte is changed")
				}
			}
		}
	}
	for _, state := range []string{"cold", "warm", "without the upstream"} {
		for name, k := range all {
			t.Run(name+", "+state, func(t *testing.T) {
				if state == "without the upstream" {
					up.setFault(answerWith(http.StatusServiceUnavailable))
				}
				check(t, name, k)
			})
		}
	}
}

func TestWhatDoesNotExistOrIsMalformedIsAnErrorOfTheAPI(t *testing.T) {
	up := newUpstream(t)
	up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	absent := digest("absent")
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		"/v2/library/app/manifests/absent":          {http.StatusNotFound, "MANIFEST_UNKNOWN"},
		"/v2/library/app/manifests/" + absent:       {http.StatusNotFound, "MANIFEST_UNKNOWN"},
		"/v2/library/app/blobs/" + absent:           {http.StatusNotFound, "BLOB_UNKNOWN"},
		"/v2/absent/manifests/v1":                   {http.StatusNotFound, "MANIFEST_UNKNOWN"},
		"/v2/library/app/blobs/sha256:abc":          {http.StatusBadRequest, "DIGEST_INVALID"},
		"/v2/library/app/manifests/sha256:abc":      {http.StatusBadRequest, "DIGEST_INVALID"},
		"/v2/library/app/blobs/md5:" + absent[7:39]: {http.StatusBadRequest, "DIGEST_INVALID"},
	} {
		g := NewWithT(t)
		answer := get(t, p.registry+path)
		g.Expect(answer.status).To(Equal(want.status), path)
		var body struct {
			Errors []struct{ Code, Message string } `json:"errors"`
		}
		g.Expect(json.Unmarshal([]byte(answer.body), &body)).To(Succeed(), answer.body)
		g.Expect(body.Errors).To(HaveLen(1))
		g.Expect(body.Errors[0].Code).To(Equal(want.code), path)
		head := send(t, http.MethodHead, p.registry+path, "", "")
		g.Expect(head.status).To(Equal(want.status), "HEAD "+path)
	}
	g := NewWithT(t)
	g.Expect(get(t, p.registry+"/v2/Library/App/manifests/v1").status).To(Equal(http.StatusNotFound), "no name of a repository")
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch} {
		answer := send(t, method, manifestURL(p.registry, "v1"), "{}", manifestType)
		g.Expect(answer.status).To(Equal(http.StatusMethodNotAllowed), method)
	}
	g.Expect(send(t, http.MethodPost, p.registry+"/v2/library/app/blobs/uploads/", "", "").status).To(Equal(http.StatusMethodNotAllowed), "a cache takes no pushes")
}

func TestListsComeFromTheUpstream(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	up.push(t, "v2")
	p := startCache(t, settings{remoteURL: up.URL})
	pull(t, p.registry, "v1", img)
	g.Expect(get(t, p.registry+"/v2/library/app/tags/list").body).To(MatchJSON(`{"name":"library/app","tags":["v1","v2"]}`))
	page := get(t, p.registry+"/v2/library/app/tags/list?n=1&ns=example.com")
	g.Expect(page.body).To(MatchJSON(`{"name":"library/app","tags":["v1"]}`))
	g.Expect(page.header.Get("Link")).To(ContainSubstring("last=v1"))

	referrers := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	up.setFault(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Header().Set("OCI-Filters-Applied", r.URL.Query().Get("artifactType"))
		_, _ = w.Write([]byte(referrers))
		return true
	})
	answer := get(t, p.registry+"/v2/library/app/referrers/"+img.manifestDigest+"?artifactType=a")
	g.Expect(answer.status).To(Equal(http.StatusOK))
	g.Expect(answer.body).To(Equal(referrers))
	g.Expect(answer.header.Get("Content-Type")).To(Equal("application/vnd.oci.image.index.v1+json"))
	g.Expect(answer.header.Get("OCI-Filters-Applied")).To(Equal("a"))

	up.Close()
	g.Expect(get(t, p.registry+"/v2/library/app/tags/list").body).To(MatchJSON(`{"name":"library/app","tags":["v1"]}`), "what the store has")
	g.Expect(get(t, p.registry+"/v2/library/app/referrers/"+img.manifestDigest).status).To(Equal(http.StatusServiceUnavailable))
}
