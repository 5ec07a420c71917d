//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// loop is pulls of one image on all nodes, each once a second, and for comparison those of another one straight from the upstream, at
// the same time: what else the machine does makes both slow, what a cache does makes only the first slow.
type loop struct {
	began         time.Time
	image         stack.Image
	pulls, direct []stack.PullResult
	through, past func() []stack.PullResult
}

// startLoop begins to pull an image of an upstream on nodes, and straight from it on as many.
func startLoop(ctx context.Context, nodes []stack.Node, u *stack.Upstream, image stack.Image, length time.Duration) *loop {
	GinkgoHelper()
	return startLoopBeside(ctx, nodes, nodes, u, image, length)
}

// startLoopBeside pulls straight from the upstream on other nodes. On fewer of them the machine has less to do: a connection to a cache that
// it takes more than dial_timeout for (200 ms) lets containerd go on to the upstream, which says nothing of the cache.
func startLoopBeside(ctx context.Context, nodes, beside []stack.Node, u *stack.Upstream, image stack.Image, length time.Duration) *loop {
	GinkgoHelper()
	other := push(ctx, u, "direct/"+image.Repository)
	return &loop{
		began:   time.Now(),
		image:   image,
		through: startPullLoops(ctx, nodes, image.Ref(), length),
		past:    startPullLoops(ctx, beside, other.DirectRef(), length),
	}
}

func (l *loop) wait() {
	GinkgoHelper()
	l.pulls, l.direct = l.through(), l.past()
	AddReportEntry("pulls", "through: "+distribution(l.pulls)+"; direct: "+distribution(l.direct))
}

func (l *loop) expectNoneFailed() {
	GinkgoHelper()
	for _, p := range l.pulls {
		Expect(p.Error).To(BeEmpty(), p.At.Format(time.TimeOnly))
	}
}

// expectNoneSlow holds I3.
func (l *loop) expectNoneSlow() {
	GinkgoHelper()
	limit := slowest(l.direct) + tolerance.Seconds()
	for _, p := range l.pulls {
		Expect(p.Seconds).To(BeNumerically("<=", limit), p.At.Format(time.TimeOnly))
	}
}

// pullLoops are the pulls of nodes, each once a second.
func pullLoops(ctx context.Context, nodes []stack.Node, image string, length time.Duration) []stack.PullResult {
	GinkgoHelper()
	return startPullLoops(ctx, nodes, image, length)()
}

// startPullLoops begins to pull on nodes, once a second; what it returns waits for the end.
func startPullLoops(ctx context.Context, nodes []stack.Node, image string, length time.Duration) func() []stack.PullResult {
	GinkgoHelper()
	var group errgroup.Group
	pulls := make([][]stack.PullResult, len(nodes))
	for i, n := range nodes {
		group.Go(func() (err error) {
			pulls[i], err = env.PullLoop(ctx, n, image, length)
			return err
		})
	}
	return func() []stack.PullResult {
		GinkgoHelper()
		Expect(group.Wait()).To(Succeed())
		for i, n := range nodes {
			Expect(pulls[i]).NotTo(BeEmpty(), n.Name)
		}
		return slices.Concat(pulls...)
	}
}

func slowest(pulls []stack.PullResult) float64 {
	GinkgoHelper()
	most := 0.0
	for _, p := range pulls {
		Expect(p.Error).To(BeEmpty())
		most = max(most, p.Seconds)
	}
	return most
}

func distribution(pulls []stack.PullResult) string {
	times := make([]float64, 0, len(pulls))
	for _, p := range pulls {
		times = append(times, p.Seconds)
	}
	slices.Sort(times)
	at := func(share float64) float64 { return times[min(int(share*float64(len(times))), len(times)-1)] }
	return fmt.Sprintf("%d pulls: median %.3fs, 95%% %.3fs, 99%% %.3fs, slowest %.3fs", len(times), at(.5), at(.95), at(.99), at(1))
}
