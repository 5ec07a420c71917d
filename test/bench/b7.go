package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

// b7 asks for everything that a registry has besides plain images, and for what the OCI distribution specification wants
// of those that can be pulled from.
func (l *lab) b7(ctx context.Context) error {
	fixtures, err := l.newFixtures(ctx)
	if err != nil {
		return err
	}
	l.report.section("B7 What the specification has",
		"The pull part of the OCI distribution specification's conformance tests, written as checks because its module is not served by the Go module proxy; "+
			"first with an empty cache (\"cold\"), then again (\"warm\"). And formats: pulled by the harness with all digests checked, and by containerd.")
	results := map[string][]checked{}
	for _, p := range l.programs() {
		progress("b7: %s", p.name)
		if results[p.name], err = l.checksOf(ctx, p, fixtures); err != nil {
			return err
		}
	}
	rows := [][]string{{"Check", "Ours", "Stock"}}
	var failed []string
	for n, ours := range results[l.ours.name] {
		rows = append(rows, []string{ours.name, ours.cell(), results[l.stock.name][n].cell()})
		if ours.err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", ours.name, ours.err))
		}
	}
	l.report.table(rows)
	l.report.bound(len(failed) == 0, "all checks pass: %s", listed(failed))
	return l.hugeBlob(ctx)
}

// checked is a check and what came of it.
type checked struct {
	name string
	err  error
}

func (c checked) cell() string {
	if c.err != nil {
		return "failed: " + shortened(c.err)
	}
	return "ok"
}

// checksOf makes all checks with a new cache and a new containerd.
func (l *lab) checksOf(ctx context.Context, p program, f fixtures) ([]checked, error) {
	machine, err := l.startContainerd(ctx, "b7-"+p.short)
	if err != nil {
		return nil, err
	}
	defer machine.stop()
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	return l.checks(ctx, c, f, machine), ctx.Err()
}

func (l *lab) checks(ctx context.Context, c *cache, f fixtures, machine *node) []checked {
	var results []checked
	asker := client.New(c.url())
	defer asker.Close()
	for _, state := range []string{"cold", "warm"} {
		for _, check := range conformance {
			results = append(results, checked{state + ": " + check.name, check.run(ctx, asker, f)})
		}
	}
	for _, i := range f.formats {
		_, err := c.pull(ctx, i.image, true)
		results = append(results, checked{i.name + ", pulled by the harness", err})
		results = append(results, checked{i.name + ", pulled by containerd from the cache alone", l.pullsFromCacheAlone(ctx, machine, c, i.image)})
	}
	return results
}

func (l *lab) pullsFromCacheAlone(ctx context.Context, machine *node, c *cache, i image) error {
	l.toNodes.Forget()
	if result := machine.pull(ctx, c, i, nodePatience); result.err != nil {
		return result.err
	}
	if asked := l.toNodes.Counts().Sum(); asked != (front.Count{}) {
		return fmt.Errorf("the node asked the upstream itself: %d GET, %d HEAD", asked.Gets, asked.Heads)
	}
	return nil
}

// hugeBlob pulls a blob that is larger than the memory that a cache may use, twice.
func (l *lab) hugeBlob(ctx context.Context) error {
	bytes := l.scale.hugeBlob
	if err := l.checkSpace(2 * bytes); err != nil {
		return err
	}
	progress("b7: generating a blob of %s", size(bytes))
	blob, err := front.Random("b7 huge", bytes)
	if err != nil {
		return err
	}
	l.library.AddBlob(blob)
	l.report.paragraph("A blob of %s, pulled twice by one client that checks its digest.", size(bytes))
	rows := [][]string{{"Cache", "Cold", "Warm", "Upstream bytes / bytes", "Anonymous memory"}}
	for _, p := range l.programs() {
		progress("b7: %s, a blob of %s", p.name, size(bytes))
		row, err := l.hugeBlobThrough(ctx, p, blob)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	l.report.table(rows)
	return nil
}

func (l *lab) hugeBlobThrough(ctx context.Context, p program, blob front.Content) ([]string, error) {
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	l.toCaches.Forget()
	watched, stop := context.WithCancel(ctx)
	memory := watchMemory(watched, c.process)
	path, expect := "/v2/b7/blobs/"+blob.Digest.String(), client.Expect{Digest: blob.Digest, Size: blob.Size}
	cold := c.get(ctx, path, expect)
	warm := c.get(ctx, path, expect)
	stop()
	highest := <-memory
	cost := float64(l.toCaches.Counts().Sum(front.Blob).Bytes) / float64(blob.Size)
	if p.ours {
		failures := errors.Join(cold.Failure(), warm.Failure())
		l.report.bound(failures == nil, "a blob of %s is served, whole and right: %s", size(blob.Size), orNone(failures))
		l.report.bound(cost <= upstreamOverhead, "it costs the upstream at most %.3f times its bytes: %.3f", upstreamOverhead, cost)
	}
	return []string{p.name, describeAnswer(cold), describeAnswer(warm), fmt.Sprintf("%.3f", cost), size(highest)}, ctx.Err()
}

// checkSpace makes sure that the disk of the run has room for so many bytes.
func (l *lab) checkSpace(bytes int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(l.dir, &s); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", l.dir, err)
	}
	if available := int64(s.Bavail) * s.Bsize; available < bytes {
		return fmt.Errorf("%s has %s of free space; wanted is %s, or another directory by -dir", l.dir, size(available), size(bytes))
	}
	return nil
}

// missing is a digest that nothing has.
var missing = digest.FromString("nothing has this content")
