package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeImages makes an archive of each image for each platform that there are binaries of.
func (r *release) writeImages() error {
	platforms, err := os.ReadDir(r.binaries)
	if err != nil {
		return fmt.Errorf("looking for binaries: %w", err)
	}
	if len(platforms) == 0 {
		return fmt.Errorf("%s holds no folder of a platform, such as linux-amd64", r.binaries)
	}
	for name, image := range map[string]struct{ dockerfile, reference string }{
		"manager":  {"Dockerfile", r.managerImage},
		"workload": {filepath.Join("workload", "Dockerfile"), r.workloadImage},
	} {
		content, err := os.ReadFile(image.dockerfile)
		if err != nil {
			return fmt.Errorf("reading a Dockerfile: %w", err)
		}
		recipe, err := parseDockerfile(string(content))
		if err != nil {
			return fmt.Errorf("%s: %w", image.dockerfile, err)
		}
		for _, platform := range platforms {
			archive, err := imageArchive(recipe, image.reference, filepath.Join(r.binaries, platform.Name()))
			if err != nil {
				return fmt.Errorf("archive of %s for %s: %w", name, platform.Name(), err)
			}
			if err := r.put(name+"-"+platform.Name()+".tar", archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// blobs are the files of an image layout, by path.
type blobs map[string][]byte

func (b blobs) add(mediaType string, content []byte) imagev1.Descriptor {
	descriptor := imagev1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	b[blobPath(descriptor)] = content
	return descriptor
}

func (b blobs) addJSON(mediaType string, document any) (imagev1.Descriptor, error) {
	content, err := json.Marshal(document)
	return b.add(mediaType, content), err
}

func blobPath(d imagev1.Descriptor) string {
	return strings.Join([]string{imagev1.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()}, "/")
}

// dockerManifest is an entry of manifest.json, which Docker before version 25 reads instead of an image layout:
// https://github.com/moby/docker-image-spec
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// imageArchive is an image layout as a tar file, with manifest.json beside it. The folder, named os-arch, has the binaries.
func imageArchive(from recipe, reference, folder string) ([]byte, error) {
	system, architecture, _ := strings.Cut(filepath.Base(folder), "-")
	layer, err := layerOf(from.files, folder)
	if err != nil {
		return nil, err
	}
	compressed, err := compress(layer)
	if err != nil {
		return nil, err
	}
	files := blobs{}
	manifest := imagev1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagev1.MediaTypeImageManifest}
	manifest.Layers = []imagev1.Descriptor{files.add(imagev1.MediaTypeImageLayerGzip, compressed)}
	manifest.Config, err = files.addJSON(imagev1.MediaTypeImageConfig, imagev1.Image{
		Platform: imagev1.Platform{OS: system, Architecture: architecture},
		Config:   from.config,
		RootFS:   imagev1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	if err != nil {
		return nil, err
	}
	return files.layout(manifest, reference)
}

// layout completes the files of a manifest to an archive.
func (b blobs) layout(manifest imagev1.Manifest, reference string) ([]byte, error) {
	descriptor, err := b.addJSON(manifest.MediaType, manifest)
	if err != nil {
		return nil, err
	}
	// containerd takes the whole reference from its own annotation, others the tag from the one of the specification.
	descriptor.Annotations = map[string]string{
		"io.containerd.image.name": reference,
		imagev1.AnnotationRefName:  reference[strings.LastIndex(reference, ":")+1:],
	}
	index := imagev1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagev1.MediaTypeImageIndex, Manifests: []imagev1.Descriptor{descriptor}}
	docker := []dockerManifest{{Config: blobPath(manifest.Config), RepoTags: []string{reference}, Layers: []string{blobPath(manifest.Layers[0])}}}
	for path, document := range map[string]any{
		imagev1.ImageLayoutFile: imagev1.ImageLayout{Version: imagev1.ImageLayoutVersion},
		imagev1.ImageIndexFile:  index,
		"manifest.json":         docker,
	} {
		if b[path], err = json.Marshal(document); err != nil {
			return nil, err
		}
	}
	return tarOf(b, 0o644)
}

// layerOf has the binaries in it, for everybody to run.
func layerOf(files map[string]string, folder string) ([]byte, error) {
	contents := blobs{}
	for path, name := range files {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, fmt.Errorf("reading a binary: %w", err)
		}
		contents[path] = content
	}
	return tarOf(contents, 0o755)
}

// tarOf has the files in the order of their paths, and no time in it.
func tarOf(files blobs, mode int64) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: path, Mode: mode, Size: int64(len(files[path])), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("writing %s: %w", path, err)
		}
		if _, err := archive.Write(files[path]); err != nil {
			return nil, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	err := archive.Close()
	return out.Bytes(), err
}

func compress(content []byte) ([]byte, error) {
	var out bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(compressed, bytes.NewReader(content)); err != nil {
		return nil, err
	}
	err = compressed.Close()
	return out.Bytes(), err
}
