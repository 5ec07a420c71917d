package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/opencontainers/image-spec/specs-go"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	formatLayers    = 2
	formatLayerSize = 200 * kilobyte
)

// fixtures are what b7 asks for.
type fixtures struct {
	plain     image
	referrers front.Content // the answer of the referrers API for plain
	formats   []format
}

type format struct {
	name  string
	image image
}

func (l *lab) newFixtures(ctx context.Context) (fixtures, error) {
	var f fixtures
	for _, single := range []struct {
		name, repository string
		flavour          flavour
	}{
		{"OCI manifest", "b7/oci", oci},
		{"Docker schema 2", "b7/docker", docker},
		{"zstd layers", "b7/zstd", zstandard},
	} {
		i, err := smallImage(single.repository, single.flavour, formatLayers, formatLayerSize)
		if err == nil {
			err = l.push(ctx, i)
		}
		if err != nil {
			return f, err
		}
		f.formats = append(f.formats, format{single.name, i})
	}
	f.plain = f.formats[0].image
	for _, several := range []struct {
		name, repository, mediaType string
		flavour                     flavour
	}{
		{"OCI index of two platforms", "b7/index", imagev1.MediaTypeImageIndex, oci},
		{"Docker manifest list of two platforms", "b7/list", client.DockerList, docker},
	} {
		i, err := l.pushIndex(ctx, several.repository, several.mediaType, several.flavour)
		if err != nil {
			return f, err
		}
		f.formats = append(f.formats, format{several.name, i})
	}
	var err error
	f.referrers, err = l.addReferrers(f.plain)
	return f, err
}

// pushIndex makes and pushes an index; what is returned stands for the index alone, its blobs are those of its images.
func (l *lab) pushIndex(ctx context.Context, repository, mediaType string, f flavour) (image, error) {
	index := imagev1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType}
	for _, platform := range []imagev1.Platform{{OS: "linux", Architecture: "arm64"}, client.Platform} {
		i, err := smallImage(repository+"/"+platform.Architecture, f, formatLayers, formatLayerSize)
		if err != nil {
			return image{}, err
		}
		i.repository, i.tag = repository, platform.Architecture
		if err := l.push(ctx, i); err != nil {
			return image{}, err
		}
		index.Manifests = append(index.Manifests, imagev1.Descriptor{
			MediaType: i.mediaType, Digest: i.manifest.Digest, Size: i.manifest.Size, Platform: &platform,
		})
	}
	encoded, err := json.Marshal(index)
	if err != nil {
		return image{}, fmt.Errorf("encoding an index: %w", err)
	}
	i := image{repository: repository, tag: "v1", mediaType: mediaType, manifest: front.Bytes(encoded)}
	_, err = l.send(ctx, http.MethodPut, i.tagPath(), mediaType, &i.manifest)
	return i, err
}

// addReferrers gives the image a signature, as the referrers API tells of it. The upstream's registry does not have this
// API, so the library answers for it.
func (l *lab) addReferrers(i image) (front.Content, error) {
	encoded, err := json.Marshal(imagev1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagev1.MediaTypeImageIndex,
		Manifests: []imagev1.Descriptor{{
			MediaType: imagev1.MediaTypeImageManifest, Digest: missing, Size: 1, ArtifactType: "application/vnd.example.signature",
		}},
	})
	if err != nil {
		return front.Content{}, fmt.Errorf("encoding referrers: %w", err)
	}
	index := front.Bytes(encoded)
	l.library.AddReferrers(i.repository, i.manifest.Digest.String(), imagev1.MediaTypeImageIndex, index)
	return index, nil
}
