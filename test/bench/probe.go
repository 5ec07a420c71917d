package main

import (
	"context"
	"fmt"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const (
	// cachedBound is what a cached answer may take while the upstream is in trouble.
	cachedBound = 100 * time.Millisecond

	// hangBound is what any answer may take, the first one after the trouble began included.
	hangBound = 15 * time.Second

	// probeSize is that of the layers that are asked for in a fault, bytes: with front.Slow they take 8 s.
	probeSize = 8 * 1024
)

// request is one way of asking for a part of an image.
type request struct {
	name   string
	path   func(image) string
	expect func(image) client.Expect
}

func manifestOf(i image) client.Expect {
	return client.Expect{Digest: i.manifest.Digest, Size: i.manifest.Size}
}

func layerOf(i image) client.Expect {
	return client.Expect{Digest: i.layer().Digest, Size: i.layer().Size}
}

var requests = []request{
	{"tag", image.tagPath, manifestOf},
	{"digest", image.digestPath, manifestOf},
	{"blob", image.layerPath, layerOf},
}

// ask makes the request with the lab's patience for the program.
func (r request) ask(ctx context.Context, c *cache, i image) client.Answer {
	patience := 2 * hangBound
	if !c.ours {
		patience = c.lab.scale.giveUp
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.get(ctx, r.path(i), r.expect(i))
}

// describeAnswer is an outcome with its time.
func describeAnswer(a client.Answer) string {
	if a.TimedOut() {
		return fmt.Sprintf("%s > %s", a, took(a.Took))
	}
	return fmt.Sprintf("%s · %s", a, took(a.Took))
}

// worst is the answer that failed, or else the slowest.
func worst(answers []client.Answer) client.Answer {
	worst := answers[0]
	for _, a := range answers[1:] {
		if worst.OK() && (!a.OK() || a.Took > worst.Took) {
			worst = a
		}
	}
	return worst
}

// verdicts are the ways in which answers break the bounds of a fault.
type verdicts struct {
	notServed, late, hanging, wrong []string
}

// cached judges an answer with content that the cache has; steady is false for the first one after the fault began.
func (v *verdicts) cached(what string, a client.Answer, steady bool) {
	if !a.OK() {
		v.notServed = append(v.notServed, fmt.Sprintf("%s: %v", what, a.Failure()))
	}
	if steady && a.Took > cachedBound {
		v.late = append(v.late, fmt.Sprintf("%s: %s", what, took(a.Took)))
	}
	v.any(what, a)
}

// any judges what holds for every answer.
func (v *verdicts) any(what string, a client.Answer) {
	if a.Took > hangBound {
		v.hanging = append(v.hanging, fmt.Sprintf("%s: %s", what, took(a.Took)))
	}
	if a.Wrong != nil {
		v.wrong = append(v.wrong, fmt.Sprintf("%s: %v", what, a.Wrong))
	}
}

func (v *verdicts) report(r *report) {
	r.bound(len(v.notServed) == 0, "what is cached is served, whole and right: %s", listed(v.notServed))
	r.bound(len(v.late) == 0, "what is cached is served within %s, except the first answer after the fault began: %s", cachedBound, listed(v.late))
	r.bound(len(v.hanging) == 0, "nothing takes longer than %s: %s", hangBound, listed(v.hanging))
	r.bound(len(v.wrong) == 0, "nothing wrong is served as if it were right: %s", listed(v.wrong))
}

func listed(exceptions []string) string {
	const shown = 4
	if len(exceptions) == 0 {
		return "no exception"
	}
	text := fmt.Sprintf("%d exceptions", len(exceptions))
	for n, exception := range exceptions {
		if n == shown {
			return text + "; …"
		}
		text += "; " + exception
	}
	return text
}

// pushProbes makes small images and pushes them.
func (l *lab) pushProbes(ctx context.Context, name string, count int) ([]image, error) {
	images := make([]image, count)
	for n := range images {
		i, err := smallImage(fmt.Sprintf("%s-%d", name, n), oci, 1, probeSize)
		if err == nil {
			err = l.push(ctx, i)
		}
		if err != nil {
			return nil, err
		}
		images[n] = i
	}
	return images, nil
}

// broken runs do with a fault and ends the fault on the way to the caches, whatever comes of do.
func (l *lab) broken(fault front.Fault, do func() error) error {
	if err := l.toCaches.Set(fault); err != nil {
		return err
	}
	err := do()
	if repair := l.toCaches.Set(front.None); err == nil {
		err = repair
	}
	return err
}
