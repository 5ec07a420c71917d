package registrycache_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// usageFixture has one cache, whose upstream no other test has, and one node with node-sync.
type usageFixture struct {
	nodeFixture
	upstream, node string
}

func newUsageFixture(t *testing.T, cidr string) usageFixture {
	t.Helper()
	f := usageFixture{nodeFixture: nodeFixture{newFixture(t)}}
	f.upstream, f.node = f.namespace+".example.com", "n-"+f.namespace
	f.connected(cidr)
	f.create(f.upstream)
	f.ready(f.upstream)
	f.Eventually(f.paths).ShouldNot(BeEmpty())
	f.run(f.node, true, true)
	return f
}

// says lets the node report that the upstream has had a status for an hour.
func (f usageFixture) says(status, problem string) {
	clusters.mu.Lock()
	defer clusters.mu.Unlock()
	clusters.nodes[client.ObjectKey{Namespace: f.namespace, Name: "node-sync-" + f.node}] = func() []byte {
		now := time.Now().UTC()
		return fmt.Appendf(nil, `{"now": %q, "since": %q, "upstreams": {%q: %q}, "problems": [{"upstream": %q, "message": %q}]}`,
			now.Format(time.RFC3339Nano), now.Add(-time.Hour).Format(time.RFC3339Nano), f.upstream, status, f.upstream, problem)
	}
}

// answered lets the cache report that it has run for an hour and answered its last request some seconds ago, or never.
func (f usageFixture) answered(secondsAgo *int64) {
	f.t.Helper()
	pulls := report.Pulls{RunningSeconds: 3600}
	if secondsAgo != nil {
		tally := report.Tally{Count: 1, SecondsAgo: secondsAgo}
		pulls.Asked, pulls.Answered = tally, tally
	}
	f.reports(pulls)
}

// reports lets the cache report this of what it was asked for.
func (f usageFixture) reports(pulls report.Pulls) {
	f.t.Helper()
	told := healthy()
	told.Pulls = &pulls
	document, err := json.Marshal(told)
	f.Expect(err).NotTo(HaveOccurred())
	clusters.tell(f.cluster, manifests.ServiceName(f.upstream)+"-0", toldReport{document: document})
}

// pulls does what the kubelet does after a pull.
func (f usageFixture) pulls(image string) {
	f.t.Helper()
	f.Expect(env.Client.Create(f.t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: f.namespace, GenerateName: "app."},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: f.namespace, Name: "app"},
		Source:         corev1.EventSource{Component: "kubelet", Host: f.node},
		Type:           corev1.EventTypeNormal, Reason: "Pulled",
		Message:        fmt.Sprintf("Successfully pulled image %q in 12ms (12ms including waiting). Image size: 7 bytes.", image),
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
	})).To(Succeed())
}

// is waits for the condition and for what the status says of the cache; the controller would look by itself, a little later.
func (f usageFixture) is(status metav1.ConditionStatus, reason string, inUse addonsv1.CacheUse) *metav1.Condition {
	f.t.Helper()
	var got *metav1.Condition
	f.Eventually(func(g Gomega) {
		clusters.wake(f.cluster)
		rc := f.current()
		got = conditions.Get(rc, addonsv1.CacheInUseCondition)
		g.Expect(got).NotTo(BeNil())
		g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{string(status), reason}), got.Message)
		g.Expect(rc.Status.Caches).To(ConsistOf(HaveField("InUse", inUse)))
	}).WithPolling(300 * time.Millisecond).Should(Succeed())
	return got
}

// stays says that a condition does not become another one in a time in which the controller looks several times.
func (f usageFixture) stays(reason string) {
	f.t.Helper()
	f.Consistently(func() string {
		clusters.wake(f.cluster)
		return conditions.Get(f.current(), addonsv1.CacheInUseCondition).Reason
	}, 12*usageTimes.Look).WithPolling(usageTimes.Look).Should(Equal(reason))
}

// TestPullsAroundACacheAreTold guards I6 as well: what is known is written once.
func TestPullsAroundACacheAreTold(t *testing.T) {
	f := newUsageFixture(t, "10.77.3.208/28")
	f.says("active", "")
	f.is(metav1.ConditionUnknown, addonsv1.CacheUseNotReportedReason, "")
	f.answered(nil)
	f.is(metav1.ConditionUnknown, addonsv1.CacheNotPulledReason, "")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.stays(addonsv1.CacheNotPulledReason)

	f.pulls(f.upstream + "/app:v1")
	f.pulls("elsewhere.example.com/app:v1")
	f.stays(addonsv1.CacheNotPulledReason)
	f.pulls(f.upstream + "/app:v2")
	message := f.is(metav1.ConditionFalse, addonsv1.CacheBypassedReason, addonsv1.CacheBypassed).Message
	f.Expect(message).To(HavePrefix("cache of %s: nodes pulled around it: %s/app:v2 on %s, %s/app:v1 on %s; it was not asked", f.upstream, f.upstream, f.node, f.upstream, f.node))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionFalse, "NotReady")
	f.pulls(f.upstream + "/app:v3")
	f.staysSilent()
	f.Expect(f.is(metav1.ConditionFalse, addonsv1.CacheBypassedReason, addonsv1.CacheBypassed).Message).To(Equal(message))

	answered := time.Now()
	f.answered(new(int64(0)))
	f.Expect(f.is(metav1.ConditionTrue, addonsv1.CacheInUseReason, addonsv1.CacheInUse).Message).To(BeEmpty())
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Eventually(time.Now).Should(BeTemporally(">", answered.Add(2*time.Second)), "long enough for nodes and Events to be looked at again")
	f.answered(new(int64(time.Since(answered).Seconds())))
	f.stays(addonsv1.CacheInUseReason)
	f.reports(report.Pulls{RunningSeconds: 1}) // it was started again
	f.stays(addonsv1.CacheInUseReason)
}

func TestACacheThatNoNodeUsesIsTold(t *testing.T) {
	f := newUsageFixture(t, "10.77.3.224/28")
	f.says("conflict", "/etc/x/hosts.toml is not ours")
	f.answered(nil)
	f.is(metav1.ConditionUnknown, addonsv1.CacheNotPulledReason, "")
	message := f.is(metav1.ConditionFalse, addonsv1.NoNodeConfiguredReason, addonsv1.CacheNotUsed).Message
	f.Expect(message).To(Equal(fmt.Sprintf("cache of %s: no node that was asked uses it: /etc/x/hosts.toml is not ours (%s)", f.upstream, f.node)))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionFalse, "NotReady")
	f.staysSilent()

	f.says("active", "")
	f.is(metav1.ConditionUnknown, addonsv1.CacheNotPulledReason, "")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")

	f.says("waiting", "")
	f.is(metav1.ConditionFalse, addonsv1.NoNodeConfiguredReason, addonsv1.CacheNotUsed)
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Nodes.Existing = addonsv1.ExistingNodesIgnore })
	f.is(metav1.ConditionUnknown, addonsv1.CacheNotPulledReason, "")
}

// TestPullsByNodesThatDoNotUseACacheAreNoBypass has a node that uses the cache, and pulls of another one, of which nothing is known at first.
func TestPullsByNodesThatDoNotUseACacheAreNoBypass(t *testing.T) {
	f := newUsageFixture(t, "10.77.3.240/28")
	f.says("active", "")
	f.answered(nil)
	f.is(metav1.ConditionUnknown, addonsv1.CacheNotPulledReason, "")
	other := f
	other.node = "other-" + f.namespace
	f.stays(addonsv1.CacheNotPulledReason)
	other.pulls(f.upstream + "/app:v1")
	f.stays(addonsv1.CacheNotPulledReason)
	other.pulls(f.upstream + "/app:v2")
	f.stays(addonsv1.CacheNotPulledReason)
	other.run(other.node, true, true)
	other.says("static", "")
	f.stays(addonsv1.CacheNotPulledReason)
	other.says("active", "")
	f.is(metav1.ConditionFalse, addonsv1.CacheBypassedReason, addonsv1.CacheBypassed)
}
