package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

// image is everything that one manifest needs.
type image struct {
	repository, tag string
	mediaType       string
	manifest        front.Content
	blobs           []front.Content // the configuration first
}

func (i image) tagPath() string { return "/v2/" + i.repository + "/manifests/" + i.tag }

func (i image) digestPath() string {
	return "/v2/" + i.repository + "/manifests/" + i.manifest.Digest.String()
}

// layerPath is that of the first layer.
func (i image) layerPath() string {
	return "/v2/" + i.repository + "/blobs/" + i.layer().Digest.String()
}

func (i image) layer() front.Content { return i.blobs[1] }

// size is what a complete pull moves, bytes.
func (i image) size() int64 {
	sum := i.manifest.Size
	for _, blob := range i.blobs {
		sum += blob.Size
	}
	return sum
}

// flavour is the dialect that an image is written in.
type flavour struct {
	manifest, config, layer string // media types
	encode                  func([]byte) []byte
}

var (
	oci = flavour{
		manifest: imagev1.MediaTypeImageManifest, config: imagev1.MediaTypeImageConfig, layer: imagev1.MediaTypeImageLayer,
	}
	docker = flavour{
		manifest: client.DockerManifest,
		config:   "application/vnd.docker.container.image.v1+json", layer: "application/vnd.docker.image.rootfs.diff.tar",
	}
	zstandard = flavour{
		manifest: imagev1.MediaTypeImageManifest, config: imagev1.MediaTypeImageConfig, layer: imagev1.MediaTypeImageLayerZstd,
		encode: zstdFrame,
	}
)

// largeImage has layers of random bytes that are no archives; no runtime unpacks them.
func largeImage(name string, layers int, layerSize int64) (image, error) {
	var contents []front.Content
	for n := range layers {
		layer, err := front.Random(fmt.Sprintf("%s layer %d", name, n), layerSize)
		if err != nil {
			return image{}, err
		}
		contents = append(contents, layer)
	}
	return assemble(name, oci, contents, nil)
}

// smallImage has layers that a runtime can unpack. Names make contents: each name is another image in every byte.
func smallImage(name string, f flavour, layers int, layerSize int64) (image, error) {
	var contents []front.Content
	var plain []digest.Digest
	for n := range layers {
		layer, err := archive(fmt.Sprintf("%s layer %d", name, n), layerSize)
		if err != nil {
			return image{}, err
		}
		plain = append(plain, digest.FromBytes(layer))
		if f.encode != nil {
			layer = f.encode(layer)
		}
		contents = append(contents, front.Bytes(layer))
	}
	return assemble(name, f, contents, plain)
}

func assemble(name string, f flavour, layers []front.Content, plain []digest.Digest) (image, error) {
	config := imagev1.Image{Author: name, Platform: client.Platform, RootFS: imagev1.RootFS{Type: "layers", DiffIDs: plain}}
	encoded, err := json.Marshal(config)
	if err != nil {
		return image{}, fmt.Errorf("encoding the configuration of %s: %w", name, err)
	}
	i := image{repository: name, tag: "v1", mediaType: f.manifest, blobs: append([]front.Content{front.Bytes(encoded)}, layers...)}
	manifest := imagev1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: f.manifest,
		Config: imagev1.Descriptor{MediaType: f.config, Digest: i.blobs[0].Digest, Size: i.blobs[0].Size},
	}
	for _, layer := range layers {
		manifest.Layers = append(manifest.Layers, imagev1.Descriptor{MediaType: f.layer, Digest: layer.Digest, Size: layer.Size})
	}
	if encoded, err = json.Marshal(manifest); err != nil {
		return image{}, fmt.Errorf("encoding the manifest of %s: %w", name, err)
	}
	i.manifest = front.Bytes(encoded)
	return i, nil
}

// archive is a tar archive of one file with random content.
func archive(seed string, size int64) ([]byte, error) {
	content, err := front.Random(seed, size)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: digest.FromString(seed).Encoded(), Mode: 0o644, Size: size}); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	if _, err := io.Copy(w, content.Reader()); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	return layer.Bytes(), nil
}

// zstdFrame wraps content of at least 256 bytes into a Zstandard frame of uncompressed blocks, RFC 8878.
func zstdFrame(content []byte) []byte {
	const blockSize = 64 << 10 // below the limit of 128 KiB
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, byte(len(content)), byte(len(content) >> 8), byte(len(content) >> 16), byte(len(content) >> 24)}
	for len(content) > 0 {
		block := content[:min(len(content), blockSize)]
		content = content[len(block):]
		header := len(block) << 3
		if len(content) == 0 {
			header |= 1
		}
		frame = append(append(frame, byte(header), byte(header>>8), byte(header>>16)), block...)
	}
	return frame
}

// push uploads an image to the upstream's registry, past its front.
func (l *lab) push(ctx context.Context, i image) error {
	for _, blob := range i.blobs {
		location, err := l.send(ctx, http.MethodPost, "/v2/"+i.repository+"/blobs/uploads/", "", nil)
		if err != nil {
			return err
		}
		query := location.Query()
		query.Set("digest", blob.Digest.String())
		location.RawQuery = query.Encode()
		if _, err := l.send(ctx, http.MethodPut, location.RequestURI(), "application/octet-stream", &blob); err != nil {
			return err
		}
	}
	if _, err := l.send(ctx, http.MethodPut, i.digestPath(), i.mediaType, &i.manifest); err != nil {
		return err
	}
	_, err := l.send(ctx, http.MethodPut, i.tagPath(), i.mediaType, &i.manifest)
	return err
}

// send returns where the answer points to.
func (l *lab) send(ctx context.Context, method, path, contentType string, body *front.Content) (*url.URL, error) {
	var reader io.Reader = http.NoBody
	var length int64
	if body != nil {
		reader, length = body.Reader(), body.Size
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://upstream"+path, reader)
	if err != nil {
		return nil, fmt.Errorf("pushing: %w", err)
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", contentType)
	response, err := l.socket.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("pushing: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("pushing: %s %s: %s: %s", method, path, response.Status, text)
	}
	return response.Location()
}

// add puts an image into the library, which needs no disk for it.
func (l *lab) add(i image) {
	for _, blob := range i.blobs {
		l.library.AddBlob(blob)
	}
	l.library.AddManifest(i.repository, i.tag, i.mediaType, i.manifest)
}
