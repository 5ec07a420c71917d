package registrycache

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// UsageTimes bound how soon something is said of the use of caches, and what it costs to know. The zero value of a field means its
// default.
type UsageTimes struct {
	// Quiet is how long a cache has answered nothing before anybody else is asked. Default: 2 minutes.
	Quiet time.Duration
	// Look is how often nodes and Events are looked at then, LookAgain how often if nodes have pulled through the cache before, or
	// if it has been there for longer than New and nobody has pulled anything.
	// Default: 90 seconds, which is less than reports of caches are apart; 10 minutes, of the hour for which Events are kept; 30 minutes.
	Look, LookAgain, New time.Duration
	// Settle is how long no node uses a cache before it is said. Default: 2 minutes.
	Settle time.Duration
	// Apart is how much time is at least between pulls that went around a cache. A single one may be chance: containerd goes on to the
	// upstream when the cache does not answer at once. Default: 30 seconds.
	Apart time.Duration
	// Margin is by how much what is compared has to differ. Default: 10 seconds.
	Margin time.Duration
}

func (t *UsageTimes) setDefaults() {
	t.Quiet = cmp.Or(t.Quiet, 2*time.Minute)
	t.Look = cmp.Or(t.Look, 90*time.Second)
	t.LookAgain = cmp.Or(t.LookAgain, 10*time.Minute)
	t.New = cmp.Or(t.New, 30*time.Minute)
	t.Settle = cmp.Or(t.Settle, 2*time.Minute)
	t.Apart = cmp.Or(t.Apart, 30*time.Second)
	t.Margin = cmp.Or(t.Margin, 10*time.Second)
}

// usages remembers what was seen of the use of caches. A restart loses it, which only delays what is said: what was said before is in
// the status.
type usages struct {
	mu       sync.Mutex
	clusters map[client.ObjectKey]*clusterUsage
}

// clusterUsage belongs to the reconcile of its RegistryCache, of which there is one at a time.
type clusterUsage struct {
	// looked is when nodes and Events were looked at last.
	looked time.Time
	caches map[string]*cacheUsage
}

// cacheUsage is what is remembered of one cache.
type cacheUsage struct {
	// shape is what nodes are told and who answers, since when this manager has seen it so. What a replica that is gone was asked for
	// nobody knows.
	shape string
	since time.Time
	// idle is since when no node is seen to use it; zero: one does, or it is not known.
	idle time.Time
	// bypassed is when it was said to be.
	bypassed time.Time
	// said is what the condition says of it.
	said string
}

func newUsages() *usages { return &usages{clusters: map[client.ObjectKey]*clusterUsage{}} }

// of is what is remembered of a cluster. Who sees one for the first time has looked just now: nothing can be told from one look.
func (u *usages) of(cluster client.ObjectKey, now time.Time) *clusterUsage {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.clusters[cluster] == nil {
		u.clusters[cluster] = &clusterUsage{looked: now, caches: map[string]*cacheUsage{}}
	}
	return u.clusters[cluster]
}

// forgetCluster drops what is known of a cluster.
func (u *usages) forgetCluster(cluster client.ObjectKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.clusters, cluster)
}

// use is what is known of the use of one cache in one reconcile.
type use struct {
	upstream string
	entry    *addonsv1.CacheStatus
	memory   *cacheUsage
	// pulls are those that replicas tell of; complete: all replicas do.
	pulls    []report.Pulls
	complete bool
	// now is when they were asked, or a moment before.
	now time.Time
}

// uses are those of all caches of the spec that are known in the workload cluster. What is remembered of others is dropped.
func (s *scope) uses(memory *clusterUsage) []*use {
	before := memory.caches
	memory.caches = map[string]*cacheUsage{}
	var list []*use
	for _, cache := range s.cache.Spec.Caches {
		entry, fact := s.status(cache.Upstream), s.facts[cache.Upstream]
		if entry == nil || fact == nil {
			continue
		}
		shape := fmt.Sprint(entry.Endpoint, manifests.PodNames(cache))
		known := before[cache.Upstream]
		if known == nil || known.shape != shape {
			known = &cacheUsage{shape: shape, since: s.now, bypassed: s.now, said: s.saidBefore(cache.Upstream, known)}
		}
		memory.caches[cache.Upstream] = known
		u := &use{upstream: cache.Upstream, entry: entry, memory: known, now: s.now}
		for _, told := range fact.reports.told {
			if told.Pulls != nil {
				u.pulls = append(u.pulls, *told.Pulls)
			}
		}
		u.complete = fact.readyReplicas > 0 && len(u.pulls) == len(manifests.PodNames(cache))
		list = append(list, u)
	}
	return list
}

// keep remembers what the condition says of caches before it says that the workload cluster is not connected: after a restart of the manager,
// none is at first.
func (u *usages) keep(s *scope) {
	memory := u.of(s.clusterKey(), s.now)
	for _, cache := range s.cache.Spec.Caches {
		if memory.caches[cache.Upstream] == nil {
			memory.caches[cache.Upstream] = &cacheUsage{said: s.saidBefore(cache.Upstream, nil)}
		}
	}
}

// saidBefore is what the condition, as it is written, says of a cache; if that is nothing, what is remembered of it.
func (s *scope) saidBefore(upstream string, known *cacheUsage) string {
	if before := conditions.Get(s.cache, addonsv1.CacheInUseCondition); before != nil {
		for line := range strings.Lines(before.Message) {
			if said, ok := strings.CutPrefix(line, cachePrefix(upstream)); ok {
				return strings.TrimSuffix(said, "\n")
			}
		}
	}
	if known != nil {
		return known.said
	}
	return ""
}

func cachePrefix(upstream string) string { return "cache of " + upstream + ": " }

// answered is how long ago the cache answered last; false: it has not, as far as is known.
func (u *use) answered() (ago time.Duration, ever bool) {
	return latest(u.pulls, func(p report.Pulls) report.Tally { return p.Answered })
}

// asked is how long ago the cache was asked last.
func (u *use) asked() (ago time.Duration, ever bool) {
	return latest(u.pulls, func(p report.Pulls) report.Tally { return p.Asked })
}

func latest(pulls []report.Pulls, tally func(report.Pulls) report.Tally) (ago time.Duration, ever bool) {
	for _, p := range pulls {
		if seconds := tally(p).SecondsAgo; seconds != nil {
			at := time.Duration(*seconds) * time.Second
			if !ever || at < ago {
				ago, ever = at, true
			}
		}
	}
	return ago, ever
}

// running is how long all replicas have counted.
func (u *use) running() time.Duration {
	if len(u.pulls) == 0 {
		return 0
	}
	shortest := slices.MinFunc(u.pulls, func(a, b report.Pulls) int { return cmp.Compare(a.RunningSeconds, b.RunningSeconds) })
	return time.Duration(shortest.RunningSeconds) * time.Second
}

// quiet says whether it is worth while to look whether anybody uses it.
func (u *use) quiet(times UsageTimes) bool {
	ago, ever := u.answered()
	return u.complete && (!ever || ago >= times.Quiet)
}

// urgent says whether to look often: it is not known yet, or there is news to come.
func (u *use) urgent(times UsageTimes) bool {
	switch u.entry.InUse {
	case addonsv1.CacheInUse:
		return !u.memory.idle.IsZero()
	case "":
		return !u.memory.idle.IsZero() || u.now.Sub(u.memory.since) < times.New
	default:
		return true
	}
}

// say changes what is said of the cache.
func (u *use) say(inUse addonsv1.CacheUse, message string) {
	u.entry.InUse, u.memory.said = inUse, message
}

// clear takes back what was said for a reason that has gone.
func (u *use) clear() {
	u.say("", "")
	if _, ever := u.answered(); ever {
		u.say(addonsv1.CacheInUse, "")
	}
}

// forgetIdle forgets since when no node is seen to use a cache that has answered since then, or that is not looked at.
func (u *use) forgetIdle(times UsageTimes) {
	if ago, ever := u.answered(); !u.quiet(times) || ever && u.now.Add(-ago).After(u.memory.idle) {
		u.memory.idle = time.Time{}
	}
}

// judgeAnswers takes a cache that answers for one that is in use. It stays so until something else is known: a cache that was started again
// has not been asked, and yet is told of.
func (u *use) judgeAnswers(times UsageTimes) {
	ago, ever := u.answered()
	switch {
	case !ever:
	case u.entry.InUse == addonsv1.CacheNotUsed && ago >= times.Quiet:
	case u.entry.InUse == addonsv1.CacheBypassed && !u.now.Add(-ago).After(u.memory.bypassed):
	default:
		u.say(addonsv1.CacheInUse, "")
	}
}

// judgeNodes says that no node uses a cache once that has been so for some time.
func (u *use) judgeNodes(sample nodeSample, times UsageTimes) {
	switch {
	case sample.active(u.upstream):
		u.memory.idle = time.Time{}
		if u.entry.InUse == addonsv1.CacheNotUsed {
			u.clear()
		}
	case !sample.complete || len(sample.nodes) == 0:
		u.memory.idle = time.Time{}
	case u.memory.idle.IsZero():
		u.memory.idle = u.now
	case u.now.Sub(u.memory.idle) >= times.Settle:
		u.say(addonsv1.CacheNotUsed, sample.hindrances(u.upstream))
	}
}

// judgePulls says that a cache is bypassed if it answered none of several pulls, all by nodes that were told of it all the time.
func (u *use) judgePulls(pulls []pastPull, now time.Time, times UsageTimes) {
	if len(pulls) < 2 {
		return
	}
	slices.SortFunc(pulls, func(a, b pastPull) int {
		return cmp.Or(cmp.Compare(a.began, b.began), cmp.Compare(a.String(), b.String()))
	})
	first := pulls[len(pulls)-1].began
	if first-pulls[0].began < times.Apart {
		return
	}
	why := "it was not asked: look whether containerd has a proxy and no exception for the cache, and whether the kubelet uses this containerd"
	if ago, ever := u.asked(); ever && ago <= first {
		why = "it was asked, and could not answer: its metrics and its log say why"
	}
	u.say(addonsv1.CacheBypassed, "nodes pulled around it: "+namedPulls(pulls)+"; "+why)
	u.memory.bypassed = now
}

// namedPulls are the first few of many, each once.
func namedPulls(pulls []pastPull) string {
	once := map[string]bool{}
	var names []string
	for _, p := range pulls {
		if name := p.String(); !once[name] {
			once[name] = true
			names = append(names, name)
		}
	}
	return named(names)
}

// groups are names by what is said of them, the largest group first.
func groups(of map[string][]string) string {
	said := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(of[b]), len(of[a])), cmp.Compare(a, b))
	})
	for i, why := range said {
		slices.Sort(of[why])
		said[i] = why + " (" + strings.Join(of[why], ", ") + ")"
	}
	return strings.Join(said, "; ")
}
