package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	// leakBound is what a store may be larger than its content.
	leakBound = 1.01

	killedLayers    = 3
	killedLayerSize = 2 * megabyte

	// killedRate makes a download last for 0.1 s, so that it can be hit in the middle; bytes per second and answer.
	killedRate = 20 * megabyte
)

// b4 starts the caches while the upstream is in trouble, and kills them in mid-download.
func (l *lab) b4(ctx context.Context) error {
	if err := l.restarts(ctx); err != nil {
		return err
	}
	return l.kills(ctx)
}

func (l *lab) restarts(ctx context.Context) error {
	l.report.section("B4 Restart while the upstream is in trouble",
		fmt.Sprintf("The cache was stopped, the fault began, the cache was started. Then each kind of request was made twice: the first one, and the next. "+
			"The stock registry was given %s for its start and for each request.", l.scale.giveUp))
	cached, err := l.pushProbes(ctx, "b4-cached", 1)
	if err != nil {
		return err
	}
	caches := map[string]*cache{}
	for _, p := range l.programs() {
		c, err := l.warmCache(ctx, p, cached...)
		if err != nil {
			return err
		}
		defer c.remove()
		c.stop()
		caches[p.name] = c
	}
	rows := [][]string{{"Fault", "Cache", "Start", "Cached tag", "next", "Cached digest", "next", "Cached blob", "next"}}
	var verdict verdicts
	for _, fault := range front.Faults {
		progress("b4: %s", fault)
		cells := map[string][]string{}
		cells[l.ours.name], cells[l.stock.name] = []string{}, []string{}
		results := make(chan restart, len(caches))
		err := l.broken(fault, func() error {
			return l.both(ctx, func(ctx context.Context, p program) error {
				results <- l.restart(ctx, caches[p.name], cached[0])
				return ctx.Err()
			})
		})
		if err != nil {
			return err
		}
		for range caches {
			r := <-results
			cells[r.cache.name] = r.cells()
			r.judge(fault, &verdict)
		}
		for _, p := range l.programs() {
			rows = append(rows, append([]string{string(fault), p.name}, cells[p.name]...))
		}
	}
	l.report.table(rows)
	verdict.report(l.report)
	return nil
}

// restart is what came of one start in trouble.
type restart struct {
	cache   *cache
	elapsed time.Duration
	err     error
	answers [][]client.Answer // for each of requests, two
}

func (l *lab) restart(ctx context.Context, c *cache, i image) restart {
	r := restart{cache: c}
	r.elapsed, r.err = c.start(ctx, l.scale.giveUp)
	if r.err != nil {
		return r
	}
	defer c.stop()
	for _, request := range requests {
		r.answers = append(r.answers, []client.Answer{request.ask(ctx, c, i), request.ask(ctx, c, i)})
	}
	return r
}

func (r restart) cells() []string {
	var cells []string
	switch {
	case errors.Is(r.err, errEnded):
		cells = append(cells, "ended after "+took(r.elapsed)+": `"+shortened(r.err)+"`")
	case r.err != nil:
		cells = append(cells, "not serving after "+took(r.elapsed))
	default:
		cells = append(cells, took(r.elapsed))
	}
	for n := range requests {
		if r.err != nil {
			cells = append(cells, "–", "–")
			continue
		}
		cells = append(cells, describeAnswer(r.answers[n][0]), describeAnswer(r.answers[n][1]))
	}
	return cells
}

// shortened is what the process said when it ended, without the way there.
func shortened(err error) string {
	const most = 120
	text := []rune(err.Error())
	if at := len(text) - most; at > 0 {
		return "…" + string(text[at:])
	}
	return string(text)
}

func (r restart) judge(fault front.Fault, verdict *verdicts) {
	if !r.cache.ours {
		return
	}
	if r.err != nil {
		verdict.notServed = append(verdict.notServed, fmt.Sprintf("%s: %v", fault, r.err))
	}
	for n, answers := range r.answers {
		for k, a := range answers {
			verdict.cached(fmt.Sprintf("%s, cached %s", fault, requests[n].name), a, k > 0)
		}
	}
}

// kills ends the cache in the middle of downloads, again and again, and looks at what it then serves and keeps.
func (l *lab) kills(ctx context.Context) error {
	l.report.section(fmt.Sprintf("B4 Killed in mid-download, %d times", l.scale.kills),
		fmt.Sprintf("Each round pulls a new image of %d layers of %s, kills the cache (SIGKILL) when a random part of its bytes has left the upstream, starts it "+
			"again, and pulls this image and an earlier one with all digests checked. In the end the store is measured.",
			killedLayers, size(killedLayerSize)))
	rows := [][]string{{"Cache", "Killed in mid-download", "Images right after the restart", "Bytes on disk / bytes of content", "Bytes on disk", "Files that are no content"}}
	for _, p := range l.programs() {
		progress("b4: killing %s", p.name)
		row, err := l.killRounds(ctx, p)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	l.report.table(rows)
	return nil
}

func (l *lab) killRounds(ctx context.Context, p program) ([]string, error) {
	c, err := l.newCache(p, "")
	if err != nil {
		return nil, err
	}
	defer c.remove()
	if _, err := c.start(ctx, startPatience); err != nil {
		return nil, err
	}
	var images []image
	var content int64
	var hit, right int
	var failures error
	for round := range l.scale.kills {
		i, err := largeImage(fmt.Sprintf("b4-killed-%s-%d", p.short, round), killedLayers, killedLayerSize)
		if err != nil {
			return nil, err
		}
		l.add(i)
		images, content = append(images, i), content+i.size()
		wasHit, err := l.killInside(ctx, c, i)
		if err != nil {
			return nil, err
		}
		if wasHit {
			hit++
		}
		err = errors.Join(pullError(c.pull(ctx, i, true)), pullError(c.pull(ctx, images[rand.IntN(len(images))], true)))
		if err == nil {
			right++
		}
		failures = errors.Join(failures, err)
	}
	c.stop()
	return l.judgeKills(c, content, hit, right, failures)
}

func pullError(_ client.Pulled, err error) error { return err }

// killInside pulls the image, kills the cache in the middle and starts it again. It tells whether it was the middle.
func (l *lab) killInside(ctx context.Context, c *cache, i image) (bool, error) {
	l.toCaches.Forget()
	l.toCaches.SetRate(killedRate)
	defer l.toCaches.SetRate(0)
	threshold := rand.Int64N(i.size())
	pulled := make(chan bool, 1)
	go func() { pulled <- pullError(c.pull(ctx, i, false)) == nil }()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	ended := false
	for !ended && l.toCaches.Counts().Sum(front.Blob).Bytes < threshold {
		select {
		case <-ticker.C:
		case <-pulled: // before it was killed, well or not
			ended = true
		}
	}
	c.kill()
	if !ended {
		ended = <-pulled
	}
	_, err := c.start(ctx, startPatience)
	return !ended, err
}

func (l *lab) judgeKills(c *cache, content int64, hit, right int, failures error) ([]string, error) {
	held, err := measureStore(c.root)
	if err != nil {
		return nil, err
	}
	ratio := float64(held.bytes) / float64(content)
	if c.ours {
		l.report.bound(failures == nil, "after each kill every image is whole and right: %s", orNone(failures))
		l.report.bound(ratio <= leakBound, "nothing leaks beyond %.2f of the content: %.4f", leakBound, ratio)
		l.report.bound(len(held.foreign) == 0, "no temporary file is left: %s", listed(held.foreign))
	}
	return []string{
		c.name, fmt.Sprintf("%d of %d", hit, l.scale.kills), fmt.Sprintf("%d of %d", right, l.scale.kills),
		fmt.Sprintf("%.4f", ratio), size(held.bytes), fmt.Sprint(len(held.foreign)),
	}, nil
}
