package registrycacheset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// claimOf is a Cluster with this outcome, and with a RegistryCache of the set that is ready or not.
func claimOf(s *scope, name, outcome, why string, ready bool) *claim {
	c := &claim{cluster: &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: name}}, outcome: outcome, why: why}
	if outcome == addonsv1.AppliedReason {
		c.cache = s.desired(c.cluster, nil)
		status := metav1.ConditionFalse
		if ready {
			status = metav1.ConditionTrue
		}
		conditions.Set(c.cache, metav1.Condition{Type: addonsv1.ReadyCondition, Status: status, Reason: "Test"})
	}
	return c
}

func TestConditionsNameTheFirstClustersAndWhatIsToBeDone(t *testing.T) {
	for name, tc := range map[string]struct {
		facts                func(*scope)
		applied, ready       string
		appliedSays          []string
		matched, readyNumber int32
	}{
		"no Cluster": {func(s *scope) { s.claims = []*claim{} }, "True Applied", "True Ready", nil, 0, 0},
		"all is well": {func(s *scope) { s.claims = []*claim{claimOf(s, "a", addonsv1.AppliedReason, "", true)} },
			"True Applied", "True Ready", nil, 1, 1},
		"one is not ready": {func(s *scope) {
			s.claims = []*claim{claimOf(s, "a", addonsv1.AppliedReason, "", true), claimOf(s, "b", addonsv1.AppliedReason, "", false)}
		}, "True Applied", "False NotReady", nil, 2, 1},
		"what is rejected comes first": {func(s *scope) {
			s.claims = []*claim{
				claimOf(s, "a", addonsv1.WaitingReason, "it waits", false), claimOf(s, "b", addonsv1.OverruledReason, "it is not ours", false),
				claimOf(s, "c", addonsv1.RejectedReason, "it is rejected", false), claimOf(s, "d", addonsv1.AppliedReason, "", true),
			}
		}, "False Rejected", "False NotReady", []string{
			"Not as the template says: 3 of 4 Clusters", "* Cluster c: it is rejected\n* Cluster b: it is not ours\n* Cluster a: it waits",
		}, 4, 1},
		"eleven of one kind": {func(s *scope) {
			for i := range 11 {
				s.claims = append(s.claims, claimOf(s, fmt.Sprintf("c%02d", i), addonsv1.OverruledReason, "it is not ours", false))
			}
		}, "False Overruled", "False NotReady", []string{"11 of 11", "Cluster c09: it is not ours\nand 1 more"}, 11, 0},
		"a failure": {func(s *scope) { s.err = errors.New("timeout") }, "Unknown InternalError", "Unknown ReadyUnknown", []string{"log of the manager"}, -1, -1},
		"a failure of one Cluster": {func(s *scope) {
			s.claims, s.err = []*claim{claimOf(s, "a", addonsv1.InternalErrorReason, "please check", false)}, errors.New("timeout")
		}, "False InternalError", "False NotReady", []string{"Cluster a: please check"}, 1, 0},
		"a bad selector": {func(s *scope) { s.invalid = "spec.clusterSelector: bad" }, "False SelectorInvalid", "False NotReady", []string{"spec.clusterSelector: bad; what was applied stays"}, -1, -1},
		"deletion": {func(s *scope) {
			now := metav1.Now()
			s.set.DeletionTimestamp, s.claims, s.leaving = &now, []*claim{}, []verdict{{"a", "it goes"}}
		}, "False Deleting", "False NotReady", []string{"is being deleted\n* Cluster a: it goes"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &scope{set: &addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Name: "set", UID: "1", Generation: 3}}}
			tc.facts(s)
			setStatus(s)
			say := func(kind string) string {
				c := conditions.Get(s.set, kind)
				g.Expect(c).NotTo(BeNil())
				return fmt.Sprintf("%s %s", c.Status, c.Reason)
			}
			g.Expect([]string{say(addonsv1.AppliedCondition), say(addonsv1.ReadyCondition)}).To(Equal([]string{tc.applied, tc.ready}))
			for _, words := range tc.appliedSays {
				g.Expect(appliedMessage(s.set)).To(ContainSubstring(words))
			}
			if tc.matched < 0 {
				g.Expect(s.set.Status.MatchedClusters).To(BeNil(), "nobody looked")
				return
			}
			g.Expect([]*int32{s.set.Status.MatchedClusters, s.set.Status.ReadyClusters}).
				To(HaveExactElements(HaveValue(Equal(tc.matched)), HaveValue(Equal(tc.readyNumber))))
		})
	}
}

func TestTheOlderOfTwoSetsIsFoundByAgeThenName(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }
	for name, tc := range map[string]struct {
		change func(other *addonsv1.RegistryCacheSet)
		want   string
	}{
		"older":                       {func(o *addonsv1.RegistryCacheSet) { o.CreationTimestamp = at(50) }, "b"},
		"younger":                     {func(o *addonsv1.RegistryCacheSet) { o.CreationTimestamp = at(150) }, ""},
		"as old, and later by name":   {func(o *addonsv1.RegistryCacheSet) { o.Name = "x" }, ""},
		"as old, and earlier by name": {func(o *addonsv1.RegistryCacheSet) {}, "b"},
		"younger here, older before":  {func(o *addonsv1.RegistryCacheSet) { o.CreationTimestamp = at(150); since50(o) }, "b"},
		"older, and does not match": {func(o *addonsv1.RegistryCacheSet) {
			since50(o)
			o.Spec.ClusterSelector.MatchLabels = map[string]string{"x": "y"}
		}, ""},
		"older, and is going":             {func(o *addonsv1.RegistryCacheSet) { since50(o); now := metav1.Now(); o.DeletionTimestamp = &now }, ""},
		"older, and its selector is bad":  {func(o *addonsv1.RegistryCacheSet) { since50(o); badOperator(o) }, ""},
		"older by something unreadable":   {func(o *addonsv1.RegistryCacheSet) { o.CreationTimestamp = at(150); noted(o, "yesterday") }, ""},
		"older, in another zone of time":  {func(o *addonsv1.RegistryCacheSet) { noted(o, "1970-01-01T02:01:39+02:00"); o.Name = "x" }, "x"},
		"younger, in another zone of day": {func(o *addonsv1.RegistryCacheSet) { noted(o, "1970-01-01T00:01:41-00:00"); o.Name = "b" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{set: &addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Name: "m", CreationTimestamp: at(100)}}, selector: labels.Everything()}
			other := addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Name: "b", CreationTimestamp: at(100)}}
			tc.change(&other)
			s.others = []addonsv1.RegistryCacheSet{other}
			NewWithT(t).Expect(s.older(&clusterv1.Cluster{})).To(Equal(tc.want))
		})
	}
}

func noted(set *addonsv1.RegistryCacheSet, since string) {
	set.Annotations = map[string]string{addonsv1.SetSinceAnnotation: since}
}

func since50(set *addonsv1.RegistryCacheSet) { noted(set, "1970-01-01T00:00:50Z") }

func badOperator(set *addonsv1.RegistryCacheSet) {
	set.Spec.ClusterSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}
}

func TestARefusalIsRememberedForTheSameTryAndNotForEver(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	refusals, key := newRefusals(), client.ObjectKey{Namespace: "n", Name: "a"}
	first := try{key: key, set: "1", cache: "2", setGeneration: 1, cacheChange: 1}
	g.Expect(refusals.remember(first, "no", now)).To(BeTrue())
	message, holds := refusals.remembered(first, now.Add(retryAfter-1))
	g.Expect([]any{message, holds}).To(Equal([]any{"no", time.Duration(1)}))
	for name, other := range map[string]try{
		"another template":      {key, "1", "2", 2, 1},
		"a changed cache":       {key, "1", "2", 1, 2},
		"another cache":         {key, "1", "3", 1, 1},
		"another set":           {key, "4", "2", 1, 1},
		"a cache that is gone":  {key: key, set: "1", setGeneration: 1},
		"that of other Cluster": {client.ObjectKey{Namespace: "n", Name: "b"}, "1", "2", 1, 1},
	} {
		_, holds := refusals.remembered(other, now)
		g.Expect(holds).To(BeZero(), name)
	}
	_, holds = refusals.remembered(first, now.Add(retryAfter))
	g.Expect(holds).To(BeZero(), "it is tried again")
	g.Expect(refusals.remember(first, "no", now.Add(retryAfter))).To(BeFalse(), "no second Event")
	g.Expect(refusals.remember(first, "still no", now)).To(BeTrue())
	refusals.forgetSet(types.UID("1"))
	_, holds = refusals.remembered(first, now)
	g.Expect(holds).To(BeZero())
}
