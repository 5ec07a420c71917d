package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
)

const (
	// memoryBound is what a cache may use of anonymous memory under b2's load, bytes.
	memoryBound = 100 << 20

	// tolerance is what two measurements of one program differ by on a busy machine: "not worse" means not worse than this.
	tolerance = 0.05

	warmBlobs   = 2 // different ones
	tracedPulls = 8 // under strace, which slows down what it watches
)

// b2 lets many clients pull blobs that are cached.
func (l *lab) b2(ctx context.Context) error {
	i, err := largeImage("b2", warmBlobs, l.scale.blobSize)
	if err != nil {
		return err
	}
	if err := l.push(ctx, i); err != nil {
		return err
	}
	l.report.section(fmt.Sprintf("B2 %d parallel pulls of cached blobs", l.scale.parallel),
		fmt.Sprintf("Blobs of %s. %d rounds of each program, taking turns; medians. CPU time is that of the cache's process (utime and stime). "+
			"Memory is the peak of anonymous memory (RssAnon, looked at every 10 ms) over all rounds. Every tenth client checks digests, all check lengths.",
			size(l.scale.blobSize), l.scale.rounds))
	var caches []*cache
	for _, p := range l.programs() {
		c, err := l.warmCache(ctx, p, i)
		if err != nil {
			return err
		}
		defer c.remove()
		caches = append(caches, c)
	}
	results := make([]warmResults, len(caches))
	for round := range l.scale.rounds {
		for n, c := range caches {
			progress("b2: round %d, %s", round+1, c.name)
			result, err := l.warmRound(ctx, c, i)
			if err != nil {
				return err
			}
			results[n] = append(results[n], result)
		}
	}
	l.compareWarm(results[0], results[1])
	return l.traceWarm(ctx, caches, i)
}

// warmCache is a running cache that has the image.
func (l *lab) warmCache(ctx context.Context, p program, images ...image) (*cache, error) {
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	for _, i := range images {
		if _, err := c.pull(ctx, i, true); err != nil {
			return nil, fmt.Errorf("warming %s: %w", p.name, err)
		}
		// What stores it may come after what delivers it.
		if _, err := c.pull(ctx, i, true); err != nil {
			return nil, fmt.Errorf("warming %s: %w", p.name, err)
		}
	}
	return c, nil
}

type warmResult struct {
	throughput float64 // bytes per second
	cpu        float64 // seconds per gigabyte
	memory     int64
	peak       int64
	failures   error
}

type warmResults []warmResult

// median picks one number of all rounds.
func (r warmResults) median(of func(warmResult) float64) float64 {
	var values []float64
	for _, result := range r {
		values = append(values, of(result))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (r warmResults) memory() (anonymous, peak int64) {
	for _, result := range r {
		anonymous, peak = max(anonymous, result.memory), max(peak, result.peak)
	}
	return anonymous, peak
}

func (l *lab) warmRound(ctx context.Context, c *cache, i image) (warmResult, error) {
	before, err := c.process.usage()
	if err != nil {
		return warmResult{}, err
	}
	watched, stop := context.WithCancel(ctx)
	memory := watchMemory(watched, c.process)
	begun := time.Now()
	bytes, failures := l.pullBlobs(ctx, c, i, l.scale.parallel)
	wall := time.Since(begun)
	stop()
	after, err := c.process.usage()
	return warmResult{
		throughput: float64(bytes) / wall.Seconds(),
		cpu:        (after.CPU - before.CPU).Seconds() / (float64(bytes) / gigabyte),
		memory:     <-memory, peak: after.Peak, failures: failures,
	}, errors.Join(err, ctx.Err())
}

// pullBlobs takes the image's layers in turn, each with a client of its own, all at once.
func (l *lab) pullBlobs(ctx context.Context, c *cache, i image, clients int) (bytes int64, failures error) {
	answers := make([]client.Answer, clients)
	var group sync.WaitGroup
	for n := range answers {
		layer := i.blobs[1+n%(len(i.blobs)-1)]
		expect := client.Expect{Size: layer.Size}
		if n%verifyEvery == 0 {
			expect.Digest = layer.Digest
		}
		group.Go(func() { answers[n] = c.get(ctx, "/v2/"+i.repository+"/blobs/"+layer.Digest.String(), expect) })
	}
	group.Wait()
	for _, answer := range answers {
		bytes += answer.Bytes
		failures = errors.Join(failures, answer.Failure())
	}
	return bytes, failures
}

// watchMemory returns the highest RssAnon until ctx ends, bytes.
func watchMemory(ctx context.Context, p *process) <-chan int64 {
	result := make(chan int64, 1)
	go func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		var highest int64
		for {
			if u, err := p.usage(); err == nil {
				highest = max(highest, u.Anonymous)
			}
			select {
			case <-ctx.Done():
				result <- highest
				return
			case <-ticker.C:
			}
		}
	}()
	return result
}

func (l *lab) compareWarm(ours, stock warmResults) {
	throughput := func(r warmResult) float64 { return r.throughput }
	cpu := func(r warmResult) float64 { return r.cpu }
	rows := [][]string{{"Cache", "Throughput / stock's", "CPU per byte / stock's", "Throughput", "CPU s per GB", "Anonymous memory", "Peak with mapped files (VmHWM)"}}
	for n, r := range []warmResults{ours, stock} {
		anonymous, peak := r.memory()
		rows = append(rows, []string{
			l.programs()[n].name,
			fmt.Sprintf("%.2f", r.median(throughput)/stock.median(throughput)),
			fmt.Sprintf("%.2f", r.median(cpu)/stock.median(cpu)),
			size(int64(r.median(throughput))) + "/s", fmt.Sprintf("%.3f", r.median(cpu)), size(anonymous), size(peak),
		})
	}
	l.report.table(rows)
	faster := ours.median(throughput) / stock.median(throughput)
	l.speedBound(faster >= 1-tolerance, "throughput of cached blobs at least stock's, within %.0f %%: %.2f of it", 100*tolerance, faster)
	dearer := ours.median(cpu) / stock.median(cpu)
	l.speedBound(dearer <= 1+tolerance, "CPU time for a byte at most stock's, within %.0f %%: %.2f of it", 100*tolerance, dearer)
	memory, _ := ours.memory()
	l.speedBound(memory <= memoryBound, "at most %s of anonymous memory: %s", size(memoryBound), size(memory))
	var failures error
	for _, r := range ours {
		failures = errors.Join(failures, r.failures)
	}
	l.report.bound(failures == nil, "every client gets the whole and right blob: %s", orNone(failures))
}

// traceWarm shows with which system calls content is sent.
func (l *lab) traceWarm(ctx context.Context, caches []*cache, i image) error {
	rows := [][]string{{"Cache", "System calls that move content, in " + fmt.Sprint(tracedPulls) + " pulls (strace -c)", "Bytes for each of them"}}
	for _, c := range caches {
		var failures error
		calls, err := traceCalls(ctx, c.process.pid(), func() {
			_, failures = l.pullBlobs(ctx, c, i, tracedPulls)
		})
		if errors.Is(err, errNoStrace) {
			l.report.paragraph("System calls were not looked at: %v.", err)
			return nil
		}
		if err := errors.Join(err, failures); err != nil {
			return err
		}
		moved := tracedPulls * l.scale.blobSize
		rows = append(rows, []string{c.name, calls.String(), size(moved / max(calls.moving(), 1))})
		if c.ours {
			l.report.bound(calls["sendfile"]+calls["splice"] > 0, "content goes from file to socket inside the kernel: %s", calls)
		}
	}
	l.report.table(rows)
	return nil
}
