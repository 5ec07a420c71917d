package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

// b7 pulls every kind of image, cold and once more without the upstream, asks for referrers, and pulls one very large blob.
func (l *lab) b7(ctx context.Context) error {
	l.report.section("B7 Every kind of content",
		"Each image is pulled cold, and once more while the upstream refuses connections; everything is hashed. The pull cases of the "+
			"OCI distribution specification are tests of workload/cache.")
	images, err := l.everyKind()
	if err != nil {
		return err
	}
	rows := [][]string{{"Content", "Cache", "Cold", "Without the upstream"}}
	for _, p := range l.programs() {
		more, err := l.pullKinds(ctx, p, images)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	l.report.table(rows)
	return l.hugeBlob(ctx)
}

type kindOfImage struct {
	name string
	image
}

// everyKind puts an image of each flavour, and an index of two of them, into the library.
func (l *lab) everyKind() ([]kindOfImage, error) {
	var all []kindOfImage
	for _, k := range []struct {
		name string
		flavour
	}{{"OCI image", oci}, {"Docker image (schema 2)", docker}, {"OCI image with zstd layers", zstandard}} {
		i, err := smallImage(fmt.Sprintf("b7/%d", len(all)), k.flavour, 2, 100*kilobyte)
		if err != nil {
			return nil, err
		}
		l.add(i)
		all = append(all, kindOfImage{k.name, i})
	}
	index, err := json.Marshal(imagev1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagev1.MediaTypeImageIndex,
		Manifests: []imagev1.Descriptor{
			{MediaType: all[2].mediaType, Digest: all[2].manifest.Digest, Size: all[2].manifest.Size, Platform: &imagev1.Platform{OS: "linux", Architecture: "arm64"}},
			{MediaType: all[0].mediaType, Digest: all[0].manifest.Digest, Size: all[0].manifest.Size, Platform: &client.Platform},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding an index: %w", err)
	}
	multi := image{repository: all[0].repository, tag: "multi", mediaType: imagev1.MediaTypeImageIndex, manifest: front.Bytes(index)}
	l.add(multi)
	l.library.AddReferrers(all[0].repository, all[0].manifest.Digest.String(), imagev1.MediaTypeImageIndex, front.Bytes(index))
	return append(all, kindOfImage{"OCI index of two platforms", multi}), nil
}

func (l *lab) pullKinds(ctx context.Context, p program, images []kindOfImage) ([][]string, error) {
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	results := make([][2]error, len(images))
	for n, i := range images {
		progress("b7: %s, %s", p.name, i.name)
		_, results[n][0] = c.pull(ctx, i.image, true)
	}
	referrers := c.get(ctx, "/v2/"+images[0].repository+"/referrers/"+images[0].manifest.Digest.String(), client.Expect{})
	err = l.broken(front.Refused, func() error {
		for n, i := range images {
			_, results[n][1] = c.pull(ctx, i.image, true)
		}
		return ctx.Err()
	})
	var rows [][]string
	var failures []error
	for n, i := range images {
		rows = append(rows, []string{i.name, p.name, outcome(results[n][0]), outcome(results[n][1])})
		failures = append(failures, results[n][:]...)
	}
	rows = append(rows, []string{"Referrers", p.name, referrers.String(), "–"})
	if p.ours {
		failure := errors.Join(append(failures, referrers.Failure())...)
		l.report.bound(failure == nil, "every kind of image is pulled cold and without the upstream, and referrers are answered: %s", orNone(failure))
	}
	return rows, err
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "pulled"
}

// hugeBlob lets three nodes pull one blob at the same moment, and one once more.
func (l *lab) hugeBlob(ctx context.Context) error {
	const nodes = 3
	i, err := largeImage("b7-huge", 1, l.scale.hugeBlob)
	if err != nil {
		return err
	}
	l.add(i)
	l.report.paragraph("One blob of %s, for %d nodes at the same moment, and once more for one; one node hashes it.", size(l.scale.hugeBlob), nodes)
	rows := [][]string{{"Cache", "Upstream bytes / blob bytes", "Cold", "First byte, slowest", "Again"}}
	for _, p := range l.programs() {
		progress("b7: %s, a blob of %s", p.name, size(l.scale.hugeBlob))
		row, err := l.pullHuge(ctx, p, i, nodes)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	l.report.table(rows)
	return nil
}

func (l *lab) pullHuge(ctx context.Context, p program, i image, nodes int) ([]string, error) {
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	l.toCaches.Forget()
	answers := make([]client.Answer, nodes)
	var group errgroup.Group
	began := time.Now()
	for n := range nodes {
		group.Go(func() error {
			expect := client.Expect{Size: i.layer().Size}
			if n == 0 {
				expect.Digest = i.layer().Digest
			}
			answers[n] = c.get(ctx, i.layerPath(), expect)
			return answers[n].Failure()
		})
	}
	failure := group.Wait()
	cold := time.Since(began)
	asked := l.toCaches.Counts().Sum(front.Blob)
	again := c.get(ctx, i.layerPath(), layerOf(i))
	share := float64(asked.Bytes) / float64(i.layer().Size)
	var first time.Duration
	for _, a := range answers {
		first = max(first, a.FirstByte)
	}
	if p.ours {
		failure = errors.Join(failure, again.Failure())
		l.report.bound(failure == nil, "a blob of %s is whole and right: %s", size(i.layer().Size), orNone(failure))
		l.report.bound(share <= upstreamOverhead, "it costs the upstream its bytes once: %.4f", share)
	}
	return []string{p.name, fmt.Sprintf("%.3f", share), took(cold), took(first), took(again.Took)}, nil
}
