//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

// accuracy is how far what the plugin says may be from what upstream and nodes saw.
const accuracy = 0.01

// Who counts here has no part in the caches: the images say what nodes got, the access logs of the upstreams what these sent.
var _ = Describe("The savings that the plugin shows", Label("slow", "observe"), Ordered, func() {
	w := &world{}

	BeforeAll(func(ctx context.Context) {
		w.cluster, w.began = env.Cluster("savings", 2), time.Now()
		w.cluster.HostsDirectory = true
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		clusters = append(clusters, w.cluster)
		rc := w.cluster.RegistryCache(w.one, w.two)
		rc.Spec.Caches[1].Replicas = new(int32(2))
		Expect(w.cluster.Create(ctx, rc)).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		for _, up := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), up, true, time.Now().Add(comeback))
			Eventually(ctx, func() int {
				ready := 0
				for _, pod := range w.cachePods(ctx, up) {
					if len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready {
						ready++
					}
				}
				return ready
			}).WithTimeout(comeback).Should(Equal(map[*stack.Upstream]int{w.one: 1, w.two: 2}[up]))
		}
	}, NodeTimeout(15*time.Minute))

	for name, number := range map[string]int{"of one replica": 0, "of two replicas": 1} {
		It("are what nodes got, less what the upstream sent: "+name, func(ctx context.Context) {
			up := []*stack.Upstream{w.one, w.two}[number]
			before := w.savings(ctx)
			var images []stack.Image
			got := int64(0)
			for i := range 4 {
				image := push(ctx, up, fmt.Sprintf("savings/image-%d", i))
				size, err := image.Size(ctx)
				Expect(err).NotTo(HaveOccurred())
				got += size * int64(len(w.nodes(ctx)))
				images = append(images, image)
			}
			since := time.Now()
			for _, image := range images {
				for _, n := range w.nodes(ctx) {
					pull(ctx, n, image.Ref())
				}
			}
			after := w.savings(ctx)
			sent := w.sent(ctx, up, since)
			shown := after.Caches[number].SavedBytes - before.Caches[number].SavedBytes
			AddReportEntry("savings "+name, fmt.Sprintf("nodes got %d, upstream sent %d, saved %d, shown %d (served %d, fetched %d)", got, sent, got-sent, shown,
				after.Caches[number].ServedBytes-before.Caches[number].ServedBytes, after.Caches[number].FetchedBytes-before.Caches[number].FetchedBytes))
			Expect(after.Caches[number].Answered).To(Equal(number + 1))
			Expect(sent).To(BeNumerically(">", 0))
			Expect(got-sent).To(BeNumerically(">", got/10), "there is something to save")
			Expect(math.Abs(float64(shown - (got - sent)))).To(BeNumerically("<=", accuracy*float64(got-sent)))
			Expect(after.Total.SavedBytes-before.Total.SavedBytes).To(Equal(shown), "the other cache did nothing")
		}, NodeTimeout(8*time.Minute))
	}

	It("are in the overview, too", func(ctx context.Context) {
		out, code, err := w.cluster.Plugin(ctx, "status", w.cluster.Name, "-o", "json", "--savings")
		Expect(err).NotTo(HaveOccurred())
		Expect(code).To(BeZero())
		shown := struct {
			Clusters []struct {
				Ready           string
				CachesReady     int
				NodesConfigured int
				SavedBytes      int64
				HitRatio        float64
			}
		}{}
		Expect(json.Unmarshal(out, &shown)).To(Succeed())
		Expect(shown.Clusters).To(HaveLen(1))
		Expect(shown.Clusters[0]).To(And(HaveField("Ready", "True"), HaveField("CachesReady", 2), HaveField("NodesConfigured", 3), HaveField("SavedBytes", w.savings(ctx).Total.SavedBytes)))
		Expect(shown.Clusters[0].HitRatio).To(BeNumerically(">", 0.3))
	}, NodeTimeout(time.Minute))

	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))
})

// savings is what the plugin prints for programs.
type savings struct {
	Caches []struct {
		Upstream                              string
		Answered                              int
		ServedBytes, FetchedBytes, SavedBytes int64
	}
	Total struct{ SavedBytes int64 }
}

func (w *world) savings(ctx context.Context) savings {
	GinkgoHelper()
	out, code, err := w.cluster.Plugin(ctx, "savings", w.cluster.Name, "-o", "json")
	Expect(err).NotTo(HaveOccurred())
	Expect(code).To(BeZero())
	s := savings{}
	Expect(json.Unmarshal(out, &s)).To(Succeed())
	return s
}

// sent is what the upstream sent, by its access log, whoever asked.
func (w *world) sent(ctx context.Context, up *stack.Upstream, since time.Time) int64 {
	GinkgoHelper()
	requests, err := up.Requests(ctx, since, "savings/")
	Expect(err).NotTo(HaveOccurred())
	sum := int64(0)
	for _, r := range requests {
		if r.Method == http.MethodGet && r.Status < http.StatusBadRequest {
			sum += r.Bytes
		}
	}
	return sum
}
