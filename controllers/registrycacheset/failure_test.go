package registrycacheset_test

import (
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// rejection guards I5.
func rejection(f *fixture) {
	f.cluster("a")
	set := f.set("all")
	rc := f.cache(set, "a")
	pause(f, set)
	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.Template.Spec.Caches = caches("quay.io") })
	change(f, set, func(s *addonsv1.RegistryCacheSet) {
		s.Spec.Template.Spec.Caches = caches("docker.io", "quay.io")
		s.Spec.Template.Spec.Caches[0].Volume.StorageClassName = ptr.To("fast")
	})
	f.cluster("b")
	change(f, set, func(s *addonsv1.RegistryCacheSet) { delete(s.Annotations, clusterv1.PausedAnnotation) })
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.RejectedReason,
		"1 of 2 Clusters", "Cluster a: spec.caches[0].volume", "fast cannot replace the default class", "remove the cache of this upstream and add it again")
	f.told(set, addonsv1.RejectedReason, "The RegistryCache of Cluster a is not accepted: spec.caches[0].volume")
	f.cache(set, "b")
	f.stays(rc)
	f.silent(set)

	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.Template.Spec.Caches = caches("quay.io") })
	f.cache(set, "a")
	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.Template.Spec.Caches = caches("docker.io", "quay.io") })
	f.cache(set, "a")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)
}

// badSelector guards I5.
func badSelector(f *fixture) {
	f.cluster("a")
	set := f.set("all")
	rc := f.cache(set, "a")
	f.counts(set, 1, 0)
	change(f, set, func(s *addonsv1.RegistryCacheSet) {
		s.Spec.ClusterSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Is"}}
	})
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.SelectorInvalidReason, "spec.clusterSelector", `"Is"`, "accepted are the operators In and NotIn")
	f.counts(set, 1, 0)
	f.stays(rc)
	f.delete(set)
	f.gone("a")
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
}

func pausedCluster(f *fixture) {
	a := f.cluster("a")
	b := f.cluster("b", func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	set := f.set("all")
	rc := f.cache(set, "a")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "Cluster b: the Cluster is paused")
	f.none("b")
	change(f, b, func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	f.cache(set, "b")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)

	change(f, a, func(c *clusterv1.Cluster) { c.Annotations = map[string]string{clusterv1.PausedAnnotation: ""} })
	f.silent(set)
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)
	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.Template.Spec.Caches = caches("quay.io") })
	f.cache(set, "b")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "Cluster a: the Cluster is paused")
	f.stays(rc)
	change(f, a, func(c *clusterv1.Cluster) { c.Labels = nil })
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "Cluster a: it is not selected any more and keeps its RegistryCache while it is paused")
	f.stays(rc)
	change(f, a, func(c *clusterv1.Cluster) { c.Annotations = nil })
	f.gone("a")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)

	change(f, b, func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	rc = f.cache(set, "b")
	change(f, rc, func(rc *addonsv1.RegistryCache) { rc.OwnerReferences = nil })
	f.Eventually(func() map[string]string { _ = f.get(rc)(); return rc.Labels }).ShouldNot(HaveKey(addonsv1.SetLabel), "its user need not wait")
}

func pausedSet(f *fixture) {
	set := f.set("all", func(s *addonsv1.RegistryCacheSet) { s.Annotations = map[string]string{clusterv1.PausedAnnotation: ""} })
	f.cluster("a")
	f.eventually(set, addonsv1.PausedCondition, metav1.ConditionTrue, clusterv1.PausedReason)
	f.none("a")
	change(f, set, func(s *addonsv1.RegistryCacheSet) { delete(s.Annotations, clusterv1.PausedAnnotation) })
	rc := f.cache(set, "a")
	pause(f, set)
	f.delete(set)
	f.stays(rc)
	change(f, set, func(s *addonsv1.RegistryCacheSet) { delete(s.Annotations, clusterv1.PausedAnnotation) })
	f.gone("a")
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
}

// pause pauses a set and waits until its controller knows.
func pause(f *fixture, set *addonsv1.RegistryCacheSet) {
	f.t.Helper()
	change(f, set, func(s *addonsv1.RegistryCacheSet) { annotate(s, clusterv1.PausedAnnotation, "") })
	f.eventually(set, addonsv1.PausedCondition, metav1.ConditionTrue, clusterv1.PausedReason)
}
