package registrycache

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// usageTimes are the defaults.
func usageTimes() UsageTimes {
	times := UsageTimes{}
	times.setDefaults()
	return times
}

// pulls is what a replica tells that has run for an hour and was asked, and has answered, some time ago; a negative time is never.
func pulls(asked, answered time.Duration) report.Pulls {
	tally := func(ago time.Duration) report.Tally {
		if ago < 0 {
			return report.Tally{}
		}
		return report.Tally{Count: 7, SecondsAgo: new(int64(ago / time.Second))}
	}
	return report.Pulls{RunningSeconds: 3600, Asked: tally(asked), Answered: tally(answered)}
}

const never = -time.Second

// seen is a cache that the manager has known for an hour and that says this.
func seen(inUse addonsv1.CacheUse, replicas ...report.Pulls) *use {
	now := time.Unix(1_000_000, 0)
	return &use{
		upstream: "docker.io", now: now, pulls: replicas, complete: true,
		entry:  &addonsv1.CacheStatus{Upstream: "docker.io", InUse: inUse},
		memory: &cacheUsage{since: now.Add(-time.Hour), bypassed: now.Add(-10 * time.Minute), said: "as before"},
	}
}

func TestACacheThatAnswersIsInUse(t *testing.T) {
	for name, tc := range map[string]struct {
		u    *use
		want addonsv1.CacheUse
	}{
		"nobody has asked":                                   {seen("", pulls(never, never)), ""},
		"asked, and could not answer":                        {seen("", pulls(time.Second, never)), ""},
		"answered":                                           {seen("", pulls(time.Second, time.Second)), addonsv1.CacheInUse},
		"answered long ago":                                  {seen("", pulls(time.Hour, time.Hour)), addonsv1.CacheInUse},
		"one of two replicas answered":                       {seen("", pulls(never, never), pulls(time.Second, time.Second)), addonsv1.CacheInUse},
		"was in use, and was started again since":            {seen(addonsv1.CacheInUse, pulls(never, never)), addonsv1.CacheInUse},
		"was in use, and does not report":                    {seen(addonsv1.CacheInUse), addonsv1.CacheInUse},
		"was bypassed, and answered before that only":        {seen(addonsv1.CacheBypassed, pulls(time.Second, 11*time.Minute)), addonsv1.CacheBypassed},
		"was bypassed, and has answered since":               {seen(addonsv1.CacheBypassed, pulls(time.Second, 9*time.Minute)), addonsv1.CacheInUse},
		"no node was configured, and nobody has asked since": {seen(addonsv1.CacheNotUsed, pulls(time.Hour, time.Hour)), addonsv1.CacheNotUsed},
		"no node was configured, and somebody asks":          {seen(addonsv1.CacheNotUsed, pulls(time.Second, time.Second)), addonsv1.CacheInUse},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.u.judgeAnswers(usageTimes())
			g.Expect(tc.u.entry.InUse).To(Equal(tc.want))
			said := "as before"
			if tc.want == addonsv1.CacheInUse && len(tc.u.pulls) > 0 && tc.u.pulls[len(tc.u.pulls)-1].Answered.Count > 0 {
				said = ""
			}
			g.Expect(tc.u.memory.said).To(Equal(said))
		})
	}
}

// node is the report of one on which the upstream has had a status for an hour.
func node(name, status string) nodeReport {
	now := time.Unix(5_000_000, 0) // its clock is its own
	return nodeReport{node: name, Now: now, Since: new(now.Add(-time.Hour)), Upstreams: map[string]string{"docker.io": status}}
}

// problem adds one.
func (n nodeReport) problem(upstream, message string) nodeReport {
	n.Problems = append(n.Problems, struct {
		Upstream string `json:"upstream"`
		Message  string `json:"message"`
	}{upstream, message})
	return n
}

func TestACacheIsNotUsedOnceNoNodeHasBeenConfiguredForSomeTime(t *testing.T) {
	conflict := node("n2", "conflict").problem("quay.io", "of another").problem("docker.io", "/etc/x/hosts.toml is not ours")
	for name, tc := range map[string]struct {
		before addonsv1.CacheUse
		idle   time.Duration
		sample nodeSample
		want   addonsv1.CacheUse
		said   string
	}{
		"a node uses it": {"", 0, nodeSample{[]nodeReport{conflict, node("n1", "active")}, true}, "", "as before"},
		"no node does, as of now": {
			"", 0, nodeSample{[]nodeReport{conflict}, true}, "", "as before",
		},
		"no node has for some time": {
			"", 3 * time.Minute, nodeSample{[]nodeReport{conflict}, true}, addonsv1.CacheNotUsed,
			"no node that was asked uses it: /etc/x/hosts.toml is not ours (n2)",
		},
		"nodes have different troubles": {
			addonsv1.CacheInUse, 3 * time.Minute, nodeSample{[]nodeReport{
				node("n9", "waiting"), conflict, node("n1", "waiting"), node("n4", "").problem("", "systemd: no bus"), node("n5", ""),
			}, true}, addonsv1.CacheNotUsed,
			"no node that was asked uses it: the cache does not answer there (n1, n9); /etc/x/hosts.toml is not ours (n2); systemd: no bus (n4); the node has not taken over what it is told (n5)",
		},
		"a node does not answer": {
			"", 3 * time.Minute, nodeSample{[]nodeReport{conflict}, false}, "", "as before",
		},
		"there is no node": {"", 3 * time.Minute, nodeSample{complete: true}, "", "as before"},
		"a node uses it again": {
			addonsv1.CacheNotUsed, time.Hour, nodeSample{[]nodeReport{node("n1", "active")}, true}, "", "",
		},
		"a node that does not answer is not known to use it again": {
			addonsv1.CacheNotUsed, time.Hour, nodeSample{}, addonsv1.CacheNotUsed, "as before",
		},
		"it is bypassed, and now no node is told of it": {
			addonsv1.CacheBypassed, time.Hour, nodeSample{[]nodeReport{node("n1", "waiting")}, true}, addonsv1.CacheNotUsed,
			"no node that was asked uses it: the cache does not answer there (n1)",
		},
		"it is bypassed, by nodes that are told of it": {
			addonsv1.CacheBypassed, 0, nodeSample{[]nodeReport{node("n1", "active")}, true}, addonsv1.CacheBypassed, "as before",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u := seen(tc.before, pulls(never, never))
			if tc.idle > 0 {
				u.memory.idle = u.now.Add(-tc.idle)
			}
			u.judgeNodes(tc.sample, usageTimes())
			g.Expect(u.entry.InUse).To(Equal(tc.want))
			g.Expect(u.memory.said).To(Equal(tc.said))
			u.judgeNodes(tc.sample, usageTimes())
			g.Expect(u.memory.said).To(Equal(tc.said), "the same nodes say the same (I6)")
		})
	}
}

func TestANodeThatIsNotConfiguredForAMomentIsForgotten(t *testing.T) {
	g := NewWithT(t)
	u := seen("", pulls(never, never))
	for _, sample := range []nodeSample{
		{[]nodeReport{node("n1", "waiting")}, true}, {[]nodeReport{node("n1", "active")}, true}, {[]nodeReport{node("n1", "waiting")}, true},
	} {
		u.judgeNodes(sample, usageTimes())
		u.now = u.now.Add(time.Hour)
	}
	g.Expect(u.entry.InUse).To(BeEmpty())
}

// TestWhatNodesDidBeforeACacheAnsweredIsForgotten guards against a cache that is started again, and that nodes have withdrawn for this moment, being told
// as not used.
func TestWhatNodesDidBeforeACacheAnsweredIsForgotten(t *testing.T) {
	const hour = time.Hour
	for name, tc := range map[string]struct {
		u    *use
		kept bool
	}{
		"it has never answered":            {seen("", pulls(never, never)), true},
		"it answered before":               {seen("", pulls(2*hour, 2*hour)), true},
		"it has answered since":            {seen(addonsv1.CacheInUse, pulls(hour/2, hour/2)), false},
		"it answers":                       {seen(addonsv1.CacheInUse, pulls(0, 0)), false},
		"a replica does not tell any more": {func() *use { u := seen("", pulls(never, never)); u.complete = false; return u }(), false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.u.memory.idle = tc.u.now.Add(-hour)
			tc.u.forgetIdle(usageTimes())
			g.Expect(tc.u.memory.idle.IsZero()).To(Equal(!tc.kept))
			if !tc.kept {
				tc.u.judgeNodes(nodeSample{[]nodeReport{node("n1", "waiting")}, true}, usageTimes())
				g.Expect(tc.u.memory.said).NotTo(ContainSubstring("no node"))
			}
		})
	}
}

// TestAPullWentAroundTheCacheOnlyIfNothingElseCanBe has a pull that ended ten minutes ago and took two; each case changes one thing.
func TestAPullWentAroundTheCacheOnlyIfNothingElseCanBe(t *testing.T) {
	type facts struct {
		u    *use
		pull nodePull
		node nodeReport
		late time.Duration // between the report of the cache and that of the node
	}
	const answered = "the cache answered"
	for name, tc := range map[string]struct {
		change func(*facts)
		want   bool
	}{
		"the cache was never asked":                             {func(*facts) {}, true},
		"the cache was asked, and could not answer":             {func(f *facts) { f.u.pulls[0] = pulls(11*time.Minute, never) }, true},
		answered + " before it":                                 {func(f *facts) { f.u.pulls[0] = pulls(13*time.Minute, 13*time.Minute) }, true},
		answered + " at about the time it began":                {func(f *facts) { f.u.pulls[0] = pulls(0, 12*time.Minute) }, false},
		answered + " while it lasted":                           {func(f *facts) { f.u.pulls[0] = pulls(0, 11*time.Minute) }, false},
		answered + " afterwards":                                {func(f *facts) { f.u.pulls[0] = pulls(0, time.Minute) }, false},
		"another replica answered":                              {func(f *facts) { f.u.pulls = append(f.u.pulls, pulls(0, 11*time.Minute)) }, false},
		"another replica was started meanwhile":                 {func(f *facts) { f.u.pulls = append(f.u.pulls, report.Pulls{RunningSeconds: 11 * 60}) }, false},
		"another replica was started before":                    {func(f *facts) { f.u.pulls = append(f.u.pulls, report.Pulls{RunningSeconds: 13 * 60}) }, true},
		"the node was told of the cache meanwhile":              {func(f *facts) { f.node.Since = new(f.node.Now.Add(-11 * time.Minute)) }, false},
		"nobody knows since when the node was told":             {func(f *facts) { f.node.Since = nil }, false},
		"the node is not told of the cache":                     {func(f *facts) { f.node.Upstreams["docker.io"] = "waiting" }, false},
		"the node is told of mirrors only":                      {func(f *facts) { f.node.Upstreams["docker.io"] = "static" }, false},
		"the node is told of another cache":                     {func(f *facts) { f.node.Upstreams = map[string]string{"quay.io": "active"} }, false},
		"the manager has known the cache, as it is, since then": {func(f *facts) { f.u.memory.since = f.u.now.Add(-11 * time.Minute) }, false},
		"the clock of the node was set back since":              {func(f *facts) { f.pull.ended = f.node.Now.Add(time.Hour) }, false},
		"the cache was asked before it ended":                   {func(f *facts) { f.late = 11 * time.Minute }, false},
		"it was a long one that began before": {func(f *facts) {
			f.pull.took = 20 * time.Minute
			f.u.pulls[0] = pulls(25*time.Minute, 25*time.Minute)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts{u: seen("", pulls(never, never)), node: node("n1", "active")}
			f.pull = nodePull{node: "n1", image: "docker.io/library/app:v1", upstream: "docker.io", ended: f.node.Now.Add(-10 * time.Minute), took: 2 * time.Minute}
			tc.change(&f)
			past, ok := f.u.around(f.pull, f.node, f.u.now.Add(f.late), usageTimes())
			NewWithT(t).Expect(ok).To(Equal(tc.want))
			if ok {
				NewWithT(t).Expect(past.String()).To(Equal("docker.io/library/app:v1 on n1"))
			}
		})
	}
}

func TestACacheIsBypassedOnceSeveralPullsWentAroundIt(t *testing.T) {
	past := func(image string, ago time.Duration) pastPull { return pastPull{"n1", image, ago} }
	many := []pastPull{}
	for i := range 14 {
		many = append(many, past(fmt.Sprintf("app:v%02d", i), time.Duration(i)*time.Minute))
	}
	for name, tc := range map[string]struct {
		pulls []pastPull
		asked time.Duration
		want  addonsv1.CacheUse
		said  string
	}{
		"none":                   {nil, never, "", "as before"},
		"one may be chance":      {[]pastPull{past("a", time.Minute)}, never, "", "as before"},
		"as may be two together": {[]pastPull{past("a", time.Minute), past("b", time.Minute+20*time.Second)}, never, "", "as before"},
		"two, some time apart": {
			[]pastPull{past("a", 2*time.Minute), past("b", time.Minute)}, never, addonsv1.CacheBypassed,
			"nodes pulled around it: b on n1, a on n1; it was not asked: look whether containerd has a proxy and no exception for the cache, and whether the kubelet uses this containerd",
		},
		"the cache was asked before": {
			[]pastPull{past("a", 2*time.Minute), past("a", time.Minute)}, 3 * time.Minute, addonsv1.CacheBypassed,
			"nodes pulled around it: a on n1; it was not asked: look whether containerd has a proxy and no exception for the cache, and whether the kubelet uses this containerd",
		},
		"the cache was asked, and could not answer": {
			[]pastPull{past("a", 2*time.Minute), past("b", time.Minute)}, time.Minute, addonsv1.CacheBypassed,
			"nodes pulled around it: b on n1, a on n1; it was asked, and could not answer: its metrics and its log say why",
		},
		"many": {
			many, 0, addonsv1.CacheBypassed,
			"nodes pulled around it: app:v00 on n1, app:v01 on n1, app:v02 on n1, app:v03 on n1, app:v04 on n1, app:v05 on n1, app:v06 on n1, app:v07 on n1, app:v08 on n1, app:v09 on n1 and 4 more; " +
				"it was asked, and could not answer: its metrics and its log say why",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u := seen("", pulls(tc.asked, never))
			u.judgePulls(tc.pulls, u.now, usageTimes())
			g.Expect(u.entry.InUse).To(Equal(tc.want))
			g.Expect(u.memory.said).To(Equal(tc.said))
			if tc.want == addonsv1.CacheBypassed {
				g.Expect(u.memory.bypassed).To(Equal(u.now))
			}
		})
	}
}

// TestEventsOfKubeletsAreRead has messages as kubelets of these versions wrote them.
func TestEventsOfKubeletsAreRead(t *testing.T) {
	at := time.Unix(1000, 0)
	event := func(message string) corev1.Event {
		return corev1.Event{Message: message, Source: corev1.EventSource{Component: "kubelet", Host: "n1"}, LastTimestamp: metav1.NewTime(at)}
	}
	anew := event(`Successfully pulled image "docker.io/app:v1" in 1s (1s including waiting).`)
	anew.Source, anew.LastTimestamp = corev1.EventSource{}, metav1.Time{}
	anew.ReportingInstance, anew.EventTime = "n1", metav1.NewMicroTime(at.Add(-time.Hour))
	anew.Series = &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(at)}
	for name, tc := range map[string]struct {
		event           corev1.Event
		image, upstream string
		took            time.Duration
	}{
		"1.36": {event(`Successfully pulled image "quay.io/a/b:v1" in 1.234s (1m5.5s including waiting). Image size: 12345 bytes.`), "quay.io/a/b:v1", "quay.io", 65500 * time.Millisecond},
		"1.27": {event(`Successfully pulled image "quay.io/a/b:v1" in 450ms (451ms including waiting)`), "quay.io/a/b:v1", "quay.io", 451 * time.Millisecond},
		"1.26": {event(`Successfully pulled image "quay.io/a/b:v1" in 2.718281828s`), "quay.io/a/b:v1", "quay.io", 2718281828},
		"1.19, which does not say how long it took": {event(`Successfully pulled image "quay.io/a/b:v1"`), "", "", 0},
		"a short name":                {event(`Successfully pulled image "app" in 1s (2s including waiting).`), "docker.io/library/app", "docker.io", 2 * time.Second},
		"a user's":                    {event(`Successfully pulled image "me/app:v1" in 1s (2s including waiting).`), "docker.io/me/app:v1", "docker.io", 2 * time.Second},
		"another name of docker.io":   {event(`Successfully pulled image "index.docker.io/me/app:v1" in 1s (1s including waiting).`), "docker.io/me/app:v1", "docker.io", time.Second},
		"a port":                      {event(`Successfully pulled image "registry.test:5000/app:v1" in 1s (1s including waiting).`), "registry.test:5000/app:v1", "registry.test:5000", time.Second},
		"a digest":                    {event(`Successfully pulled image "ghcr.io/app@sha256:0123456789012345678901234567890123456789012345678901234567890123" in 1s (1s including waiting).`), "ghcr.io/app@sha256:0123456789012345678901234567890123456789012345678901234567890123", "ghcr.io", time.Second},
		"the newer form of Events":    {anew, "docker.io/library/app:v1", "docker.io", time.Second},
		"an image that was there":     {event(`Container image "quay.io/a/b:v1" already present on machine and can be accessed by the pod`), "", "", 0},
		"several Events in one":       {event(`(combined from similar events): Successfully pulled image "quay.io/a/b:v1" in 1s (1s including waiting).`), "", "", 0},
		"what is no name of an image": {event(`Successfully pulled image "A B\nC" in 1s (1s including waiting).`), "", "", 0},
		"what is no time":             {event(`Successfully pulled image "quay.io/a/b:v1" in 1.2.3s (µ including waiting).`), "", "", 0},
		"words that nobody has yet":   {event(`Image pulled: quay.io/a/b:v1`), "", "", 0},
		"nobody knows on which node":  {corev1.Event{Message: `Successfully pulled image "a" in 1s (1s including waiting).`, LastTimestamp: metav1.NewTime(at)}, "", "", 0},
		"nobody knows when":           {corev1.Event{Message: `Successfully pulled image "a" in 1s (1s including waiting).`, ReportingInstance: "n1"}, "", "", 0},
		"an empty message":            {event(""), "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, ok := readPull(&tc.event)
			g.Expect(ok).To(Equal(tc.upstream != ""))
			if ok {
				g.Expect(got).To(Equal(nodePull{node: "n1", image: tc.image, upstream: tc.upstream, ended: at, took: tc.took}))
			}
		})
	}
}

// pagedEvents answers with an Event a page, and says that there are more until there are none; 0 pages never end.
type pagedEvents struct {
	client.Reader
	pages, asked int
}

// List implements client.Reader.
func (p *pagedEvents) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	options := client.ListOptions{}
	options.ApplyOptions(opts)
	page, ok := list.(*corev1.EventList)
	if want := strings.Repeat("x", p.asked); !ok || options.Continue != want || options.Limit != eventsPage {
		return fmt.Errorf("asked for %d of %T after %q; expected is %q", options.Limit, list, options.Continue, want)
	}
	p.asked++
	page.Items = []corev1.Event{{
		Message: fmt.Sprintf(`Successfully pulled image "docker.io/app:v%d" in 1s (1s including waiting).`, p.asked),
		Source:  corev1.EventSource{Component: "kubelet", Host: "n1"}, LastTimestamp: metav1.Unix(1000, 0),
	}, {
		Message: `Successfully pulled image "quay.io/app:v1" in 1s (1s including waiting).`,
		Source:  corev1.EventSource{Component: "kubelet", Host: "n2"}, LastTimestamp: metav1.Unix(1000, 0),
	}}
	if p.asked != p.pages {
		page.Continue = strings.Repeat("x", p.asked)
	}
	return nil
}

func TestEventsAreReadPageByPageButNotForEver(t *testing.T) {
	for pages, want := range map[int]int{1: 1, 3: 3, 0: eventsPages} {
		t.Run(fmt.Sprintf("%d pages", pages), func(t *testing.T) {
			g := NewWithT(t)
			reader := &pagedEvents{pages: pages}
			pulls, err := listPulls(t.Context(), reader, map[string]*use{"docker.io": {}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(reader.asked).To(Equal(want))
			g.Expect(pulls).To(HaveLen(1))
			g.Expect(pulls["n1"]).To(HaveLen(want))
		})
	}
}

func TestHowOftenNodesAndEventsAreLookedAt(t *testing.T) {
	times := usageTimes()
	for name, tc := range map[string]struct {
		u      *use
		change func(*use)
		quiet  bool
		urgent bool
	}{
		"it answers":              {seen(addonsv1.CacheInUse, pulls(0, time.Minute)), nil, false, false},
		"it has answered":         {seen(addonsv1.CacheInUse, pulls(0, time.Hour)), nil, true, false},
		"it is new":               {seen("", pulls(never, never)), func(u *use) { u.memory.since = u.now.Add(-time.Minute) }, true, true},
		"nobody has ever needed":  {seen("", pulls(never, never)), nil, true, false},
		"nodes have just gone":    {seen(addonsv1.CacheInUse, pulls(never, never)), func(u *use) { u.memory.idle = u.now }, true, true},
		"no node uses it":         {seen(addonsv1.CacheNotUsed, pulls(never, never)), nil, true, true},
		"it is bypassed":          {seen(addonsv1.CacheBypassed, pulls(never, never)), nil, true, true},
		"a replica does not tell": {seen("", pulls(never, never)), func(u *use) { u.complete = false }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tc.change != nil {
				tc.change(tc.u)
			}
			g.Expect(tc.u.quiet(times)).To(Equal(tc.quiet))
			g.Expect(tc.u.urgent(times)).To(Equal(tc.urgent))
		})
	}
}
