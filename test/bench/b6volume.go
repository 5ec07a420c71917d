package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	nodeVolume   = 32 * megabyte
	fillingBlobs = 48 // of fillingSize: more than the volume holds
	fillingSize  = megabyte

	// nodeImageLayer is large enough to be broken off in the middle by a full disk, bytes.
	nodeImageLayer = 2 * megabyte

	// nodePulls is how many images are pulled in each state of the disk.
	nodePulls = 5
)

// nodesOnSmallVolume repeats b5's two states of the disk with containerd.
func (l *lab) nodesOnSmallVolume(ctx context.Context, machine *node, verdict *nodeVerdicts) error {
	l.report.paragraph("The same on a volume of %s, after %s were pulled through the cache, and then with somebody else taking all free space. "+
		"%d images of %d layers of %s in each state. The upstream is well, so every pull has to succeed.",
		size(nodeVolume), size(fillingBlobs*fillingSize), nodePulls, nodeLayers, size(nodeImageLayer))
	rows := [][]string{{"Cache", "Volume", "Pulled", "Slowest"}}
	for _, p := range l.programs() {
		progress("b6: small volume, %s", p.name)
		added, err := l.nodesOnVolumeOf(ctx, machine, p, verdict)
		if err != nil {
			return err
		}
		rows = append(rows, added...)
	}
	l.report.table(rows)
	return nil
}

func (l *lab) nodesOnVolumeOf(ctx context.Context, machine *node, p program, verdict *nodeVerdicts) ([][]string, error) {
	v, err := l.newVolume("b6-"+p.short, nodeVolume)
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
	if err := l.fillByPulls(ctx, c); err != nil {
		return nil, err
	}
	const alone, filled = "full of its own content", "filled by somebody else"
	first, err := l.pullOnVolume(ctx, machine, c, alone, verdict)
	if err != nil {
		return nil, err
	}
	filling, stop := context.WithCancel(ctx)
	defer stop()
	ended, err := v.fill(filling)
	if err != nil {
		return nil, err
	}
	second, err := l.pullOnVolume(ctx, machine, c, filled, verdict)
	stop()
	<-ended
	return [][]string{first, second}, err
}

// fillByPulls pulls more than the volume holds; what a stock registry makes of that does not matter here.
func (l *lab) fillByPulls(ctx context.Context, c *cache) error {
	for n := range fillingBlobs {
		blob, err := front.Random(fmt.Sprintf("b6 filling %d", n), fillingSize)
		if err != nil {
			return err
		}
		l.library.AddBlob(blob)
		answer := c.get(ctx, "/v2/b6-filling/blobs/"+blob.Digest.String(), client.Expect{Digest: blob.Digest})
		if err := answer.Failure(); err != nil && c.ours {
			l.report.bound(false, "a small volume: every pull is served: %v", err)
		}
	}
	return ctx.Err()
}

func (l *lab) pullOnVolume(ctx context.Context, machine *node, c *cache, state string, verdict *nodeVerdicts) ([]string, error) {
	pulled, slowest := 0, pulledBy{}
	for n := range nodePulls {
		name := fmt.Sprintf("b6-volume-%s-%s-%d", c.short, strings.ReplaceAll(state, " ", "-"), n)
		i, err := smallImage(name, oci, nodeLayers, nodeImageLayer)
		if err == nil {
			err = l.push(ctx, i)
		}
		if err != nil {
			return nil, err
		}
		result := machine.pull(ctx, c, i, l.nodePatience(c.program))
		if result.err == nil {
			pulled++
		} else if c.ours {
			verdict.direct = append(verdict.direct, fmt.Sprintf("%s: %v", state, result.err))
		}
		if result.took > slowest.took {
			slowest = result
		}
	}
	return []string{c.name, state, fmt.Sprintf("%d of %d", pulled, nodePulls), slowest.String()}, ctx.Err()
}
