package registrycache

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// eventsPage is how many Events are read at a time, eventsPages how many times at most: a cluster may have many.
	eventsPage  = 500
	eventsPages = 20
)

// pulled is what the kubelet says when it has pulled an image
// (https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/image_manager.go); that an image was there already has
// the same reason. Before 1.27 there is one time, with the waiting in it; before 1.20 there is none, and nothing can be told.
var pulled = regexp.MustCompile(`^Successfully pulled image "([^"]+)" in ([0-9a-zµ.]+)(?: \(([0-9a-zµ.]+) including waiting\))?`)

// nodePull is one pull of an image, as its node tells it by its clock.
type nodePull struct {
	node, image, upstream string
	ended                 time.Time
	took                  time.Duration
}

// pastPull is one that went around a cache; began is how long ago, by the clock of its node.
type pastPull struct {
	node, image string
	began       time.Duration
}

// String names image and node.
func (p pastPull) String() string { return bounded(p.image) + " on " + p.node }

// readPull reads an Event; false if it does not tell of a pull.
func readPull(event *corev1.Event) (nodePull, bool) {
	match := pulled.FindStringSubmatch(event.Message)
	if match == nil {
		return nodePull{}, false
	}
	image, err := reference.ParseNormalizedNamed(match[1])
	if err != nil {
		return nodePull{}, false
	}
	took, err := time.ParseDuration(cmp.Or(match[3], match[2]))
	if err != nil {
		return nodePull{}, false
	}
	p := nodePull{node: cmp.Or(event.Source.Host, event.ReportingInstance), image: image.String(), upstream: reference.Domain(image), took: took}
	switch {
	case !event.LastTimestamp.IsZero():
		p.ended = event.LastTimestamp.Time
	case event.Series != nil:
		p.ended = event.Series.LastObservedTime.Time
	default:
		p.ended = event.EventTime.Time
	}
	return p, p.node != "" && !p.ended.IsZero()
}

// listPulls are the pulls of the last hour, as long as Events are kept, that are named after one of the upstreams, by node.
func listPulls(ctx context.Context, live client.Reader, wanted map[string]*use) (map[string][]nodePull, error) {
	pulls := map[string][]nodePull{}
	next := ""
	for range eventsPages {
		page := &corev1.EventList{}
		err := live.List(ctx, page, client.MatchingFields{"reason": "Pulled", "source": "kubelet", "involvedObject.kind": "Pod"},
			client.Limit(eventsPage), client.Continue(next))
		if err != nil {
			return nil, fmt.Errorf("listing Events of the workload cluster: %w", err)
		}
		for i := range page.Items {
			if p, ok := readPull(&page.Items[i]); ok && wanted[p.upstream] != nil {
				pulls[p.node] = append(pulls[p.node], p)
			}
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	return pulls, nil
}

// lookAtPulls judges caches by what nodes have pulled lately. As the cache has answered nothing, a few nodes are as good as all.
func (r *Reconciler) lookAtPulls(ctx context.Context, s *scope, uses []*use) error {
	wanted := map[string]*use{}
	for _, u := range uses {
		wanted[u.upstream] = u
	}
	byNode, err := listPulls(ctx, s.target.Live, wanted)
	if err != nil || len(byNode) == 0 {
		return err
	}
	nodes := slices.Sorted(maps.Keys(byNode))
	reports, err := r.reportsOf(ctx, s, nodes[:min(len(nodes), namedNodes)])
	if err != nil {
		return err
	}
	now := r.Clock.Now()
	around := map[string][]pastPull{}
	for node, told := range reports {
		for _, pull := range byNode[node] {
			if past, ok := wanted[pull.upstream].around(pull, told, now, r.Usage); ok {
				around[pull.upstream] = append(around[pull.upstream], past)
			}
		}
	}
	for upstream, pulls := range around {
		wanted[upstream].judgePulls(pulls, now, r.Usage)
	}
	return nil
}

// around says whether a pull went around the cache. While it lasted the node was told of the cache, all replicas ran and counted, and none
// of them answered. Each time is measured by one clock: those of the node by the node's, those of the cache by the cache's.
func (u *use) around(p nodePull, told nodeReport, now time.Time, times UsageTimes) (pastPull, bool) {
	if told.Upstreams[u.upstream] != active || told.Since == nil {
		return pastPull{}, false
	}
	// An Event has whole seconds, so the end was up to one later.
	ended := told.Now.Sub(p.ended) - time.Second
	began := told.Now.Sub(p.ended) + p.took
	before := began + times.Margin
	answered, ever := u.answered()
	ok := ended > now.Sub(u.now)+times.Margin && // the replicas were asked after it
		told.Now.Sub(*told.Since) > before && u.running() > before && now.Sub(u.memory.since) > before && (!ever || answered > before)
	return pastPull{node: p.node, image: p.image, began: began}, ok
}
