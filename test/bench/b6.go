package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	nodeLayers    = 2
	nodeLayerSize = 4 * 1024

	// nodePatience is what a pull by containerd may take with ours.
	nodePatience = 2 * time.Minute
)

// b6 lets a real containerd pull through the caches, with the upstream as its last resort.
func (l *lab) b6(ctx context.Context) error {
	l.report.section("B6 A real containerd in front of it",
		fmt.Sprintf("`ctr images pull` of an image of %d layers of %s, with the project's hosts.toml: first the cache, then the upstream itself. "+
			"\"Both\": the fault hits the cache and the node, so that only a cached image can be had, or one from a slow upstream. "+
			"\"Cache only\": the node reaches the upstream, so that every pull has to succeed. Each line pulls an image that containerd never saw. "+
			"A pull that fails there is tried once more at once, which a kubelet would do after a while. "+
			"The stock registry was given %s for each pull.", nodeLayers, size(nodeLayerSize), 2*l.scale.giveUp))
	machine, err := l.startContainerd(ctx, "b6")
	if err != nil {
		return err
	}
	defer machine.stop()
	var caches []*cache
	for _, p := range l.programs() {
		c, err := l.newCache(p, "")
		if err != nil {
			return err
		}
		defer c.remove()
		caches = append(caches, c)
	}
	rows := [][]string{{"Fault", "It hits", "Image", "Ours", "Stock"}}
	var verdict nodeVerdicts
	for _, fault := range front.Faults {
		for _, both := range []bool{true, false} {
			progress("b6: %s, hits the node: %t", fault, both)
			e := nodeExperiment{l, machine, fault, both}
			added, err := e.run(ctx, caches, &verdict)
			if err != nil {
				return fmt.Errorf("%s: %w", fault, err)
			}
			rows = append(rows, added...)
		}
	}
	l.report.table(rows)
	if err := l.nodesOnSmallVolume(ctx, machine, &verdict); err != nil {
		return err
	}
	verdict.report(l.report)
	return nil
}

// nodeVerdicts are pulls that failed although somebody had the image.
type nodeVerdicts struct{ cached, direct []string }

func (v *nodeVerdicts) report(r *report) {
	r.bound(len(v.cached) == 0, "an image that is cached is pulled: %s", listed(v.cached))
	r.bound(len(v.direct) == 0, "an image is pulled if the node can reach the upstream: %s", listed(v.direct))
}

// nodeExperiment is a fault and whom it hits.
type nodeExperiment struct {
	lab   *lab
	node  *node
	fault front.Fault
	both  bool
}

func (e nodeExperiment) hits() string {
	if e.both {
		return "both"
	}
	return "cache only"
}

// nodeProbes makes the images of one experiment for one cache: one that it gets to know before, and one that it does not.
func (l *lab) nodeProbes(ctx context.Context, name string) (cached, uncached image, err error) {
	name = strings.NewReplacer(" ", "-", "/", "-").Replace(strings.ToLower(name))
	if cached, err = smallImage(name+"-cached", oci, nodeLayers, nodeLayerSize); err != nil {
		return cached, uncached, err
	}
	if uncached, err = smallImage(name+"-uncached", oci, nodeLayers, nodeLayerSize); err != nil {
		return cached, uncached, err
	}
	return cached, uncached, errors.Join(l.push(ctx, cached), l.push(ctx, uncached))
}

// run starts the caches anew, so that nothing of another fault is left in them.
func (e nodeExperiment) run(ctx context.Context, caches []*cache, verdict *nodeVerdicts) ([][]string, error) {
	images := make([][2]image, len(caches))
	for n, c := range caches {
		cached, uncached, err := e.lab.nodeProbes(ctx, fmt.Sprintf("b6-%s-%s-%s", c.short, e.fault, e.hits()))
		if err != nil {
			return nil, err
		}
		if _, err := c.start(ctx, startPatience); err != nil {
			return nil, err
		}
		defer c.stop()
		if _, err := c.pull(ctx, cached, true); err != nil {
			return nil, fmt.Errorf("warming %s: %w", c.name, err)
		}
		images[n] = [2]image{cached, uncached}
	}
	results := make([][2]pulledBy, len(caches))
	err := e.breaking(func() error {
		return e.lab.both(ctx, func(ctx context.Context, p program) error {
			n := 0
			if !p.ours {
				n = 1
			}
			for k, i := range images[n] {
				results[n][k] = e.pull(ctx, caches[n], i)
			}
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	e.judge(results[0], verdict)
	return [][]string{
		{string(e.fault), e.hits(), "cached", results[0][0].String(), results[1][0].String()},
		{string(e.fault), e.hits(), "uncached", results[0][1].String(), results[1][1].String()},
	}, nil
}

// pull is tried once more if it failed at a node that reaches the upstream, because a kubelet does that too.
func (e nodeExperiment) pull(ctx context.Context, c *cache, i image) pulledBy {
	patience := e.lab.nodePatience(c.program)
	result := e.node.pull(ctx, c, i, patience)
	if result.err != nil && !e.both {
		again := e.node.pull(ctx, c, i, patience)
		result.again = &again
	}
	return result
}

func (l *lab) nodePatience(p program) time.Duration {
	if p.ours {
		return nodePatience
	}
	return 2 * l.scale.giveUp
}

// breaking runs do with the fault at one door of the upstream or at both.
func (e nodeExperiment) breaking(do func() error) error {
	if !e.both {
		return e.lab.broken(e.fault, do)
	}
	if err := e.lab.toNodes.Set(e.fault); err != nil {
		return err
	}
	err := e.lab.broken(e.fault, do)
	return errors.Join(err, e.lab.toNodes.Set(front.None))
}

func (e nodeExperiment) judge(ours [2]pulledBy, verdict *nodeVerdicts) {
	if err := ours[0].err; err != nil {
		verdict.cached = append(verdict.cached, fmt.Sprintf("%s, %s: %v", e.fault, e.hits(), err))
	}
	if err := ours[1].err; err != nil && !e.both {
		verdict.direct = append(verdict.direct, fmt.Sprintf("%s, %s: %v", e.fault, e.hits(), err))
	}
}
