package registrycache

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// using lets a cache have this in the status, and this said of it.
func using(s *scope, upstream string, inUse addonsv1.CacheUse, said string) {
	s.status(upstream).InUse = inUse
	s.facts[upstream].usage = usageFact{said: said, reported: true}
}

func TestWhatIsKnownOfTheUseOfCachesBecomesACondition(t *testing.T) {
	const docker, quay = "docker.io", "quay.io"
	for name, tc := range map[string]struct {
		change                         func(*scope)
		status, reason, message, ready string
	}{
		"nobody reports": {
			func(*scope) {}, "Unknown", "NotReported", "The cache of docker.io, quay.io does not tell whether it is asked for anything", "True",
		},
		"nobody has pulled anything": {
			func(s *scope) { using(s, docker, "", ""); using(s, quay, "", "") },
			"Unknown", "NotPulled", "Nothing has been pulled through the cache of docker.io, quay.io yet", "True",
		},
		"nobody has pulled anything through one, and the other does not report": {
			func(s *scope) { using(s, docker, "", "") },
			"Unknown", "NotPulled", "Nothing has been pulled through the cache of docker.io yet\nThe cache of quay.io does not tell whether it is asked for anything", "True",
		},
		"both are used": {
			func(s *scope) { using(s, docker, addonsv1.CacheInUse, ""); using(s, quay, addonsv1.CacheInUse, "") }, "True", "InUse", "", "True",
		},
		"one is used, nobody needs the other": {
			func(s *scope) { using(s, docker, addonsv1.CacheInUse, ""); using(s, quay, "", "") },
			"True", "InUse", "Nothing has been pulled through the cache of quay.io yet", "True",
		},
		"one was used, and does not report now": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheInUse, "")
				using(s, quay, addonsv1.CacheInUse, "")
				s.facts[quay].usage.reported = false
			}, "True", "InUse", "", "True",
		},
		"one is bypassed": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheInUse, "")
				using(s, quay, addonsv1.CacheBypassed, "like this")
			},
			"False", "Bypassed", "cache of quay.io: like this", "False",
		},
		"one is bypassed, and no node uses the other": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheNotUsed, "and that")
				using(s, quay, addonsv1.CacheBypassed, "like this")
			},
			"False", "Bypassed", "cache of quay.io: like this\ncache of docker.io: and that", "False",
		},
		"no node uses one": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheInUse, "")
				using(s, quay, addonsv1.CacheNotUsed, "because")
			},
			"False", "NoNodeConfigured", "cache of quay.io: because", "False",
		},
		"nobody remembers why": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheNotUsed, "")
				using(s, quay, addonsv1.CacheBypassed, "")
			},
			"False", "Bypassed", "cache of quay.io: nodes pulled around it\ncache of docker.io: no node uses it", "False",
		},
		"a cache is not there yet": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheInUse, "")
				delete(s.facts, quay)
				s.cache.Status.Caches = s.cache.Status.Caches[:1]
			},
			"True", "InUse", "The cache of quay.io does not tell", "False",
		},
		"there are no caches": {
			func(s *scope) { s.cache.Spec.Caches, s.cache.Status.Caches = nil, nil }, "True", "NoCaches", "", "True",
		},
		"the cluster is not connected": {
			func(s *scope) { using(s, docker, addonsv1.CacheBypassed, ""); s.target = nil },
			"Unknown", "ClusterNotConnected", "go on as they are", "Unknown",
		},
		"the reconcile failed": {
			func(s *scope) { s.err = errors.New("12:34:56 timed out") }, "Unknown", "InternalError", "log of the manager", "Unknown",
		},
		"the RegistryCache goes": {
			func(s *scope) {
				using(s, docker, addonsv1.CacheInUse, "")
				s.cache.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}, "False", "Deleting", "", "False",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			tc.change(s)
			setStatus(s)
			got := conditions.Get(s.cache, addonsv1.CacheInUseCondition)
			g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{tc.status, tc.reason}), got.Message)
			if tc.message == "" && tc.status == "True" {
				g.Expect(got.Message).To(BeEmpty())
			}
			g.Expect(got.Message).To(ContainSubstring(tc.message))
			g.Expect(got.Message).NotTo(ContainSubstring("12:34:56"), "no variable text")
			if name != "a cache is not there yet" { // which other conditions tell
				ready := conditions.Get(s.cache, addonsv1.ReadyCondition)
				g.Expect(string(ready.Status)).To(Equal(tc.ready), ready.Message)
			}
			before := s.cache.DeepCopy()
			setStatus(s)
			g.Expect(s.cache).To(Equal(before), "the same facts say the same (I6)")
		})
	}
}

// TestWhatWasSaidIsSaidAgainByTheNextManager: what led to it is an hour later nowhere else.
func TestWhatWasSaidIsSaidAgainByTheNextManager(t *testing.T) {
	g := NewWithT(t)
	s := serving()
	using(s, "docker.io", addonsv1.CacheNotUsed, "no node that was asked uses it: because (n1)")
	using(s, "quay.io", addonsv1.CacheBypassed, "nodes pulled around it: x on n1")
	setStatus(s)
	before := conditions.Get(s.cache, addonsv1.CacheInUseCondition)
	for upstream := range s.facts {
		s.facts[upstream].usage = usageFact{}
	}
	memory := newUsages().of(s.clusterKey(), s.now)
	for _, u := range s.uses(memory) {
		s.facts[u.upstream].usage.said = u.memory.said
	}
	setStatus(s)
	g.Expect(conditions.Get(s.cache, addonsv1.CacheInUseCondition)).To(Equal(before))

	s.cache.Spec.Caches = s.cache.Spec.Caches[1:]
	s.uses(memory)
	g.Expect(memory.caches).To(HaveLen(1), "a cache that is gone is not remembered")
}

func TestACacheOfAnotherShapeIsLookedAtAnew(t *testing.T) {
	g := NewWithT(t)
	s := serving()
	memory := newUsages().of(s.clusterKey(), s.now)
	began := s.now
	s.uses(memory)
	s.now = s.now.Add(time.Hour)
	s.cache.Spec.Caches[0].Replicas = new(int32(2))
	s.uses(memory)
	g.Expect(memory.caches["docker.io"].since).To(Equal(s.now), "what the replicas of before were asked for nobody knows")
	g.Expect(memory.caches["quay.io"].since).To(Equal(began))
	g.Expect(s.uses(memory)[0].complete).To(BeFalse(), "of two replicas, one reports at most")
}

// TestWhatIsSaidOfCachesOutlivesARestartOfTheManager guards I5: no workload cluster is connected at first, and the condition says so.
func TestWhatIsSaidOfCachesOutlivesARestartOfTheManager(t *testing.T) {
	g := NewWithT(t)
	s := serving()
	using(s, "docker.io", addonsv1.CacheBypassed, "nodes pulled around it: app:v1 on n1")
	using(s, "quay.io", addonsv1.CacheInUse, "")
	setStatus(s)

	restarted, target := newUsages(), s.target
	s.target = nil
	for range 2 {
		restarted.keep(s)
		setStatus(s)
	}
	g.Expect(conditions.Get(s.cache, addonsv1.CacheInUseCondition).Message).NotTo(ContainSubstring("app:v1"))

	s.target = target
	uses := s.uses(restarted.of(s.clusterKey(), s.now))
	g.Expect(uses).To(HaveLen(2))
	g.Expect(uses[0].memory.said).To(Equal("nodes pulled around it: app:v1 on n1"))
	g.Expect(uses[0].memory.since).To(Equal(s.now))
	g.Expect(uses[1].memory.said).To(BeEmpty())
}
