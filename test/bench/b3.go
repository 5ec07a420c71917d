package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

// b3 asks for what is cached and what is not, with each fault of the upstream. Each cell is an experiment of its own: the
// cache is started with a good upstream, then the fault begins.
func (l *lab) b3(ctx context.Context) error {
	l.report.section("B3 The upstream in trouble",
		"For each line the caches were started with a good upstream and had an open connection to it; then the fault began. Status and time of the first "+
			"request after that, and of those that followed: the failed one if there is one, else the slowest. Uncached requests each ask for something new. "+
			fmt.Sprintf("Blobs and manifests are small (%s and less): at 1 KB/s a blob takes 8 s. The stock registry was given %s for each request.",
				size(probeSize), l.scale.giveUp))
	cached, err := l.pushProbes(ctx, "b3-cached", 1)
	if err != nil {
		return err
	}
	var caches []*cache
	for _, p := range l.programs() {
		c, err := l.warmCache(ctx, p, cached...)
		if err != nil {
			return err
		}
		defer c.remove()
		c.stop()
		caches = append(caches, c)
	}
	rows := [][]string{{"Fault", "Asked for", "Ours, first", "Ours, then", "Stock, first", "Stock, then"}}
	var verdict faultVerdicts
	for _, fault := range front.Faults {
		for _, isCached := range []bool{true, false} {
			for _, r := range requests {
				e := experiment{l, fault, r, isCached, cached[0]}
				progress("b3: %s", e)
				row, err := e.run(ctx, caches, &verdict)
				if err != nil {
					return fmt.Errorf("%s: %w", e, err)
				}
				rows = append(rows, row)
			}
		}
	}
	l.report.table(rows)
	verdict.report(l.report)
	l.report.bound(len(verdict.notFailed) == 0, "what is not cached and cannot be had fails: %s", listed(verdict.notFailed))
	return nil
}

type faultVerdicts struct {
	verdicts
	notFailed []string
}

// experiment is one line of the table.
type experiment struct {
	lab     *lab
	fault   front.Fault
	request request
	cached  bool
	image   image // that is cached
}

// String names the experiment.
func (e experiment) String() string { return fmt.Sprintf("%s, %s", e.fault, e.what()) }

func (e experiment) what() string {
	if e.cached {
		return "cached " + e.request.name
	}
	return "uncached " + e.request.name
}

func (e experiment) run(ctx context.Context, caches []*cache, verdict *faultVerdicts) ([]string, error) {
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(strings.ToLower("b3-" + e.String()))
	probes, err := e.lab.pushProbes(ctx, name, 2+e.lab.scale.followers)
	if err != nil {
		return nil, err
	}
	for _, c := range caches {
		if err := e.prepare(ctx, c, probes[0]); err != nil {
			return nil, err
		}
		defer c.stop()
	}
	answers := make([][]client.Answer, len(caches))
	err = e.lab.broken(e.fault, func() error {
		return e.lab.both(ctx, func(ctx context.Context, p program) error {
			n := 0
			if !p.ours {
				n = 1
			}
			answers[n] = e.askAll(ctx, caches[n], probes[1:])
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	e.judge(answers[0], verdict)
	row := []string{string(e.fault), e.what()}
	for _, a := range answers {
		row = append(row, describeAnswer(a[0]), e.then(a[1:]))
	}
	return row, nil
}

// prepare starts the cache and lets it talk to the good upstream once.
func (e experiment) prepare(ctx context.Context, c *cache, probe image) error {
	if _, err := c.start(ctx, startPatience); err != nil {
		return err
	}
	return requests[0].ask(ctx, c, probe).Failure()
}

// askAll makes the first request and those that follow; a stock registry that gave up patience is not asked again.
func (e experiment) askAll(ctx context.Context, c *cache, probes []image) []client.Answer {
	var answers []client.Answer
	for _, probe := range probes {
		if e.cached {
			probe = e.image
		}
		answers = append(answers, e.request.ask(ctx, c, probe))
		if !c.ours && (answers[0].TimedOut() || len(answers) == 2) {
			break
		}
	}
	return answers
}

func (e experiment) then(answers []client.Answer) string {
	if len(answers) == 0 {
		return "not asked"
	}
	return describeAnswer(worst(answers))
}

func (e experiment) judge(answers []client.Answer, verdict *faultVerdicts) {
	for n, a := range answers {
		switch {
		case e.cached:
			verdict.cached(e.String(), a, n > 0)
		default:
			verdict.any(e.String(), a)
			// A slow upstream is an upstream.
			if a.OK() && e.fault != front.Slow {
				verdict.notFailed = append(verdict.notFailed, e.String())
			}
		}
	}
}
