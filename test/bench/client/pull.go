package client

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// layersAtOnce is containerd's max_concurrent_downloads.
const layersAtOnce = 3

// Platform is what Pull chooses from an index.
var Platform = imagev1.Platform{OS: "linux", Architecture: "amd64"}

// Pulled is an image that was pulled, or as much of it as came.
type Pulled struct {
	Manifest imagev1.Manifest
	Bytes    int64
	Took     time.Duration
	Blobs    map[digest.Digest]Answer
}

// Pull takes an image as containerd does. With verify the content of blobs is hashed, without it only counted; manifests
// are always hashed. The first failure ends it.
func (c *Client) Pull(ctx context.Context, repository, tag string, verify bool) (Pulled, error) {
	start := time.Now()
	pulled := Pulled{Blobs: map[digest.Digest]Answer{}}
	err := c.pull(ctx, &pulled, repository, tag, verify)
	pulled.Took = time.Since(start)
	return pulled, err
}

func (c *Client) pull(ctx context.Context, pulled *Pulled, repository, tag string, verify bool) error {
	head := c.Head(ctx, "/v2/"+repository+"/manifests/"+tag)
	if err := head.Failure(); err != nil {
		return fmt.Errorf("resolving %s:%s: %w", repository, tag, err)
	}
	d, err := digest.Parse(head.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return fmt.Errorf("resolving %s:%s: Docker-Content-Digest: %w", repository, tag, err)
	}
	if err := c.manifest(ctx, pulled, repository, d); err != nil {
		return err
	}
	return c.blobs(ctx, pulled, repository, verify)
}

// manifest reads the manifest of the platform, through an index if there is one.
func (c *Client) manifest(ctx context.Context, pulled *Pulled, repository string, d digest.Digest) error {
	answer := c.Get(ctx, "/v2/"+repository+"/manifests/"+d.String(), Expect{Digest: d, Keep: true})
	if err := answer.Failure(); err != nil {
		return fmt.Errorf("pulling manifest %s: %w", d, err)
	}
	pulled.Bytes += answer.Bytes
	var index imagev1.Index
	if err := json.Unmarshal(answer.Body, &index); err != nil {
		return fmt.Errorf("parsing manifest %s: %w", d, err)
	}
	for _, entry := range index.Manifests {
		if entry.Platform != nil && entry.Platform.OS == Platform.OS && entry.Platform.Architecture == Platform.Architecture {
			return c.manifest(ctx, pulled, repository, entry.Digest)
		}
	}
	if err := json.Unmarshal(answer.Body, &pulled.Manifest); err != nil {
		return fmt.Errorf("parsing manifest %s: %w", d, err)
	}
	return nil
}

func (c *Client) blobs(ctx context.Context, pulled *Pulled, repository string, verify bool) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(layersAtOnce)
	for _, blob := range append([]imagev1.Descriptor{pulled.Manifest.Config}, pulled.Manifest.Layers...) {
		group.Go(func() error {
			expect := Expect{Size: blob.Size}
			if verify {
				expect.Digest = blob.Digest
			}
			answer := c.Get(ctx, "/v2/"+repository+"/blobs/"+blob.Digest.String(), expect)
			mu.Lock()
			pulled.Bytes += answer.Bytes
			pulled.Blobs[blob.Digest] = answer
			mu.Unlock()
			if err := answer.Failure(); err != nil {
				return fmt.Errorf("pulling blob %s: %w", blob.Digest, err)
			}
			return nil
		})
	}
	return group.Wait()
}
