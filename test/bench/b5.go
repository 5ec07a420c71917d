package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	diskClients = 8

	// diskPatience is what a run over the trace may take.
	diskPatience = 15 * time.Minute
)

// b5 pulls more than the volume holds, and goes on when somebody else has filled it.
func (l *lab) b5(ctx context.Context) error {
	blobs, err := l.workingSet()
	if err != nil {
		return err
	}
	sizes, total, largest := sizesOf(blobs)
	trace := newTrace(len(blobs), l.scale.pulls+l.scale.afterFilled)
	trace, rest := trace[:l.scale.pulls], trace[l.scale.pulls:]
	watermark := l.scale.volume * highWatermark / 100
	ideal := float64(idealHits(trace, sizes, watermark)) / float64(len(trace))
	l.report.section("B5 A volume that is too small",
		fmt.Sprintf("A volume (tmpfs) of %s, %d blobs of %s to %s, %s together, pulled %d times by %d clients with Zipf popularity (s = %.1f), the same trace for both. "+
			"An ideal LRU cache with a capacity of %d %% of the volume would have served %.1f %% of this trace itself. "+
			"A truncated answer is one that begins with 200 and ends early. Every tenth pull is hashed, all are measured.",
			size(l.scale.volume), len(blobs), size(l.scale.smallest), size(largest), size(total), len(trace), diskClients, zipfExponent, highWatermark, 100*ideal),
		fmt.Sprintf("Then somebody else takes all free space of the volume, and whatever becomes free (looked at every 5 ms), during %d more pulls.", l.scale.afterFilled))
	rows := [][]string{{"Cache", "Volume", "Pulls", "Truncated", "Failed", "Wrong", "Hit ratio / ideal LRU's", "Hit ratio", "Most of the volume used", "Wall time"}}
	for _, p := range l.programs() {
		added, err := l.smallVolume(ctx, p, blobs, trace, rest, ideal, watermark+largest)
		if err != nil {
			return err
		}
		rows = append(rows, added...)
	}
	l.report.table(rows)
	return nil
}

// workingSet makes the blobs and puts them into the library.
func (l *lab) workingSet() ([]front.Content, error) {
	progress("b5: generating blobs")
	source := rand.New(rand.NewPCG(5, 6))
	blobs := make([]front.Content, l.scale.blobs)
	for n := range blobs {
		bytes := l.scale.smallest + source.Int64N(l.scale.largest-l.scale.smallest)
		blob, err := front.Random(fmt.Sprintf("b5 blob %d", n), bytes)
		if err != nil {
			return nil, err
		}
		l.library.AddBlob(blob)
		blobs[n] = blob
	}
	return blobs, nil
}

func sizesOf(blobs []front.Content) (sizes []int64, total, largest int64) {
	for _, blob := range blobs {
		sizes = append(sizes, blob.Size)
		total += blob.Size
		largest = max(largest, blob.Size)
	}
	return sizes, total, largest
}

func (l *lab) smallVolume(ctx context.Context, p program, blobs []front.Content, trace, rest []int, ideal float64, most int64) ([][]string, error) {
	v, err := l.newVolume("b5-"+p.short, l.scale.volume)
	if err != nil {
		return nil, err
	}
	defer v.close()
	c, err := l.newCache(p, v.path)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	progress("b5: %s, its own content", p.name)
	alone, err := l.follow(ctx, c, v, blobs, trace)
	if err != nil {
		return nil, err
	}
	progress("b5: %s, filled by somebody else", p.name)
	filling, stop := context.WithCancel(ctx)
	defer stop()
	ended, err := v.fill(filling)
	if err != nil {
		return nil, err
	}
	filled, err := l.follow(ctx, c, v, blobs, rest)
	if err != nil {
		return nil, err
	}
	stop()
	<-ended
	if p.ours {
		alone.judge(l.report, "its own content")
		filled.judge(l.report, "filled by somebody else")
		l.report.bound(alone.most <= most, "never more on the volume than the high watermark and one blob, %s: %s", size(most), size(alone.most))
	}
	return [][]string{
		alone.row(p.name, "its own content", ideal), filled.row(p.name, "filled by somebody else", 0),
	}, nil
}

// diskResult is what came of a trace.
type diskResult struct {
	pulls, truncated, failed, wrong int
	missing                         int64 // pulls that went upstream
	most                            int64 // bytes used
	wall                            time.Duration
	failures                        error // the first ones
}

// follow makes the pulls of a trace.
func (l *lab) follow(ctx context.Context, c *cache, v *volume, blobs []front.Content, trace []int) (diskResult, error) {
	watched, stop := context.WithCancel(ctx)
	usage := v.watch(watched)
	l.toCaches.Forget()
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	result := pullTrace(limited, c, blobs, trace)
	result.wall = time.Since(begun)
	result.missing = l.toCaches.Counts().Sum(front.Blob).Gets
	stop()
	result.most = <-usage
	return result, ctx.Err()
}

func pullTrace(ctx context.Context, c *cache, blobs []front.Content, trace []int) diskResult {
	var next atomic.Int64
	var mu sync.Mutex
	var result diskResult
	var group sync.WaitGroup
	for range diskClients {
		group.Go(func() {
			node := client.New(c.url())
			defer node.Close()
			for n := next.Add(1) - 1; n < int64(len(trace)) && ctx.Err() == nil; n = next.Add(1) - 1 {
				blob := blobs[trace[n]]
				expect := client.Expect{Size: blob.Size}
				if n%verifyEvery == 0 {
					expect.Digest = blob.Digest
				}
				answer := node.Get(ctx, "/v2/b5/blobs/"+blob.Digest.String(), expect)
				mu.Lock()
				result.add(answer)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return result
}

func (r *diskResult) add(a client.Answer) {
	r.pulls++
	switch {
	case a.OK():
		return
	case a.Cut():
		r.truncated++
	case a.Wrong != nil:
		r.wrong++
	default:
		r.failed++
	}
	if r.truncated+r.wrong+r.failed <= 3 {
		r.failures = errors.Join(r.failures, a.Failure())
	}
}

func (r diskResult) judge(report *report, state string) {
	report.bound(r.truncated+r.failed+r.wrong == 0, "%s: every one of %d answers is whole and right: %s", state, r.pulls, orNone(r.failures))
}

// row is the result as a line of the table; without an ideal there is nothing to compare hits with.
func (r diskResult) row(name, state string, ideal float64) []string {
	hits, ratio := 1-float64(r.missing)/float64(max(r.pulls, 1)), "–"
	if ideal > 0 {
		ratio = fmt.Sprintf("%.2f", hits/ideal)
	}
	return []string{
		name, state, fmt.Sprint(r.pulls), fmt.Sprint(r.truncated), fmt.Sprint(r.failed), fmt.Sprint(r.wrong),
		ratio, fmt.Sprintf("%.1f %%", 100*hits), size(r.most), took(r.wall),
	}
}
