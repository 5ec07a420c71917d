package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// fixtureLayers and fixtureLayerSize (bytes) are the shape of every fixture image, so that pulls compare.
	fixtureLayers    = 3
	fixtureLayerSize = 3 << 20

	fixtureTag = "v1"
)

// Image is a fixture image: layers of random bytes that no other image has, and a program that waits.
type Image struct {
	upstream   *Upstream
	Repository string
	// Digest is that of the manifest.
	Digest digest.Digest
}

// Ref is the reference that goes through the cache of the upstream, if there is one.
func (i Image) Ref() string { return i.upstream.Host() + "/" + i.Repository + ":" + fixtureTag }

// DigestRef is Ref without the tag.
func (i Image) DigestRef() string {
	return i.upstream.Host() + "/" + i.Repository + "@" + i.Digest.String()
}

// DirectRef is a reference to the same image that no cache serves.
func (i Image) DirectRef() string {
	return i.upstream.DirectHost() + "/" + i.Repository + ":" + fixtureTag
}

// Push makes an image and pushes it to the upstream.
func (u *Upstream) Push(ctx context.Context, repository string) (Image, error) {
	image := Image{upstream: u, Repository: repository}
	base, err := u.base(ctx)
	if err != nil {
		return image, err
	}
	layers, err := u.stack.fixtureLayers()
	if err != nil {
		return image, err
	}
	manifest := imagev1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagev1.MediaTypeImageManifest}
	config := imagev1.Image{Platform: imagev1.Platform{Architecture: "amd64", OS: "linux"}, RootFS: imagev1.RootFS{Type: "layers"}}
	config.Config.Entrypoint = []string{"/idle"}
	for _, layer := range layers {
		descriptor, err := pushBlob(ctx, base, repository, imagev1.MediaTypeImageLayer, layer)
		if err != nil {
			return image, err
		}
		manifest.Layers = append(manifest.Layers, descriptor)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, descriptor.Digest)
	}
	image.Digest, err = pushManifest(ctx, base, repository, manifest, config)
	return image, err
}

func pushManifest(ctx context.Context, base, repository string, manifest imagev1.Manifest, config imagev1.Image) (digest.Digest, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("encoding the image configuration: %w", err)
	}
	if manifest.Config, err = pushBlob(ctx, base, repository, imagev1.MediaTypeImageConfig, data); err != nil {
		return "", err
	}
	if data, err = json.Marshal(manifest); err != nil {
		return "", fmt.Errorf("encoding the manifest: %w", err)
	}
	_, err = send(ctx, http.MethodPut, base+"/v2/"+repository+"/manifests/"+fixtureTag, manifest.MediaType, data)
	return digest.FromBytes(data), err
}

// pushBlob uploads a blob in one request, as the distribution specification has it.
func pushBlob(ctx context.Context, base, repository, mediaType string, data []byte) (imagev1.Descriptor, error) {
	descriptor := imagev1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	location, err := send(ctx, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		return descriptor, err
	}
	query := location.Query()
	query.Set("digest", descriptor.Digest.String())
	location.RawQuery = query.Encode()
	_, err = send(ctx, http.MethodPut, location.String(), "application/octet-stream", data)
	return descriptor, err
}

// send returns where the answer points to.
func send(ctx context.Context, method, target, contentType string, body []byte) (*url.URL, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("pushing: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("pushing: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return nil, fmt.Errorf("pushing: %s %s: %s: %s", method, target, response.Status, text)
	}
	location, err := response.Location()
	if err != nil {
		return nil, fmt.Errorf("pushing: %s %s: %w", method, target, err)
	}
	return location, nil
}

func (s *Stack) fixtureLayers() ([][]byte, error) {
	program, err := os.ReadFile(s.paths.state("upstream-image", "idle"))
	if err != nil {
		return nil, fmt.Errorf("reading the program of the fixture image: %w", err)
	}
	// What follows an executable is not read when it runs, and makes this layer as unique as the others.
	layer, err := layerOf("idle", 0o755, append(program, random(16)...))
	layers := [][]byte{layer}
	for i := 0; i < fixtureLayers && err == nil; i++ {
		layer, err = layerOf(fmt.Sprintf("random-%d", i), 0o644, random(fixtureLayerSize))
		layers = append(layers, layer)
	}
	return layers, err
}

func random(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.Read(content) // never fails
	return content
}

// layerOf is a layer with one file.
func layerOf(name string, mode int64, content []byte) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return nil, fmt.Errorf("writing layer %s: %w", name, err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, fmt.Errorf("writing layer %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing layer %s: %w", name, err)
	}
	return layer.Bytes(), nil
}
