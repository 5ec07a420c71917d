package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	// startPatience is what a cache has for its start when nothing is wrong.
	startPatience = 20 * time.Second

	// upstreamOverhead is what a cold image may cost the upstream beyond its bytes, for manifests.
	upstreamOverhead = 1.005

	// distance is the round-trip time of the shaped runs.
	distance = 50 * time.Millisecond

	// verifyEvery client hashes what it pulls; the others count, because hashing would be most of the work of the machine.
	verifyEvery = 10
)

// b1 lets many nodes pull one cold image at the same moment, first as fast as the machine can, then with the upstream
// far away.
func (l *lab) b1(ctx context.Context) error {
	i, err := largeImage("b1", l.scale.layers, l.scale.layerSize)
	if err != nil {
		return err
	}
	if err := l.push(ctx, i); err != nil {
		return err
	}
	l.report.section(fmt.Sprintf("B1 %d nodes pull a cold image", l.scale.clients),
		fmt.Sprintf("%d layers, %s together. Each node asks HEAD for the tag, GET for the manifest, then the configuration and three layers at a time. "+
			"Followers are all requests for a layer but the one that got its first byte first. Every tenth node checks digests, all check lengths.",
			l.scale.layers, size(i.size())),
		fmt.Sprintf("The upstream far away: %s by `tc` (tbf), and %s added by the upstream's program to new connections and before each answer, "+
			"as the kernel has no netem. What had not finished after %s was stopped.", shapedRate, took(distance), l.scale.patience))
	rows := [][]string{{"Upstream", "Cache", "Upstream bytes / image bytes", "Wall time / stock's", "Wall time", "Image bytes delivered", "Upstream GETs", "First byte of followers, median", "slowest"}}
	for _, far := range []bool{false, true} {
		results, err := l.coldPulls(ctx, i, far)
		if err != nil {
			return err
		}
		rows = append(rows, l.compareCold(results, i, far)...)
	}
	l.report.table(rows)
	return nil
}

// coldResult is what one cache did with a cold image.
type coldResult struct {
	wall            time.Duration
	finished        bool
	delivered       int64
	upstream        front.Count
	median, slowest time.Duration
}

func (l *lab) coldPulls(ctx context.Context, i image, far bool) (results []coldResult, err error) {
	if far {
		if err := l.network.shape(ctx, true); err != nil {
			return nil, err
		}
		l.toCaches.SetLatency(distance)
		defer func() {
			l.toCaches.SetLatency(0)
			err = errors.Join(err, l.network.shape(ctx, false))
		}()
	}
	for _, p := range l.programs() {
		progress("b1: %s, far away: %t", p.name, far)
		result, err := l.coldPull(ctx, p, i, far)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

func (l *lab) coldPull(ctx context.Context, p program, i image, far bool) (coldResult, error) {
	var result coldResult
	c, err := l.newCache(p, "")
	if err != nil {
		return result, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return result, err
	}
	l.toCaches.Forget()
	limited, cancel := context.WithTimeout(ctx, l.scale.patience)
	defer cancel()
	begun := time.Now()
	pulls, err := l.nodes(limited, c, i)
	result.wall = time.Since(begun)
	result.finished = err == nil
	if p.ours {
		l.report.bound(result.finished, "every node gets the whole and right image: %v", orNone(err))
	}
	result.upstream = l.toCaches.Counts().Sum(front.Manifest, front.Blob)
	for _, pull := range pulls {
		result.delivered += pull.Bytes
	}
	result.median, result.slowest = followers(pulls, i)
	return result, ctx.Err()
}

func orNone(err error) string {
	if err == nil {
		return "no failure"
	}
	return err.Error()
}

// nodes lets all clients pull at once; with an error the pulls are those of what came.
func (l *lab) nodes(ctx context.Context, c *cache, i image) ([]client.Pulled, error) {
	pulls := make([]client.Pulled, l.scale.clients)
	failures := make([]error, l.scale.clients)
	var group sync.WaitGroup
	for n := range pulls {
		group.Go(func() { pulls[n], failures[n] = c.pull(ctx, i, n%verifyEvery == 0) })
	}
	group.Wait()
	return pulls, errors.Join(failures...)
}

// followers returns the median and the maximum of the times to first byte, without the first request of each layer.
func followers(pulls []client.Pulled, i image) (median, slowest time.Duration) {
	var times []time.Duration
	for _, layer := range i.blobs[1:] {
		times = append(times, followersOf(pulls, layer.Digest)...)
	}
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)-1]
}

func followersOf(pulls []client.Pulled, d digest.Digest) []time.Duration {
	var answers []client.Answer
	for _, pull := range pulls {
		if answer, ok := pull.Blobs[d]; ok && answer.Bytes > 0 {
			answers = append(answers, answer)
		}
	}
	slices.SortFunc(answers, func(a, b client.Answer) int {
		return a.Asked.Add(a.FirstByte).Compare(b.Asked.Add(b.FirstByte))
	})
	var times []time.Duration
	for _, answer := range answers[min(1, len(answers)):] {
		times = append(times, answer.FirstByte)
	}
	return times
}

func (l *lab) compareCold(results []coldResult, i image, far bool) [][]string {
	where := "near"
	if far {
		where = "far away"
	}
	var rows [][]string
	ours, stock := results[0], results[1]
	for n, p := range l.programs() {
		r := results[n]
		wall, ratio := took(r.wall), fmt.Sprintf("%.2f", float64(r.wall)/float64(stock.wall))
		switch {
		case !r.finished:
			wall, ratio = "> "+wall, "–"
		case !stock.finished:
			ratio = "< " + ratio
		}
		rows = append(rows, []string{
			where, p.name, fmt.Sprintf("%.3f", float64(r.upstream.Bytes)/float64(i.size())), ratio, wall,
			fmt.Sprintf("%.0f %%", 100*float64(r.delivered)/float64(i.size())/float64(l.scale.clients)),
			fmt.Sprint(r.upstream.Gets), took(r.median), took(r.slowest),
		})
	}
	cost := float64(ours.upstream.Bytes) / float64(i.size())
	l.report.bound(cost <= upstreamOverhead, "%s: a cold image costs the upstream at most %.3f times its bytes: %.4f", where, upstreamOverhead, cost)
	l.speedBound(ours.finished && ours.wall <= stock.wall, "%s: at most stock's wall time: %.2f of it", where, float64(ours.wall)/float64(stock.wall))
	return rows
}
