package registrycacheset_test

import (
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func deletion(f *fixture) {
	f.cluster("a")
	b := f.cluster("b")
	set := f.set("all")
	rc := f.cache(set, "a")
	f.cache(set, "b")
	f.holds(rc)
	change(f, b, func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	f.delete(set)
	f.deleting(rc)
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.DeletingReason,
		"Cluster a: its RegistryCache is being removed", "Cluster b: the Cluster is paused")
	f.eventually(set, addonsv1.ReadyCondition, metav1.ConditionFalse, clusterv1.NotReadyReason, "is being deleted")
	f.releases(rc)
	f.gone("a")
	f.cluster("late")
	f.none("late")
	change(f, b, func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	f.gone("b")
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
}

func foreground(f *fixture) {
	a := f.cluster("a")
	set := f.set("all")
	rc := f.cache(set, "a")
	change(f, a, func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) }) // so that the garbage collector is the first
	f.delete(set, client.PropagationPolicy(metav1.DeletePropagationForeground))
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.DeletingReason, "Cluster a: the Cluster is paused")
	// As the garbage collector does with dependents that have another owner, and with a set that is not blocked by any.
	change(f, rc, func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: "a", UID: a.UID}}
	})
	change(f, set, func(set *addonsv1.RegistryCacheSet) {
		controllerutil.RemoveFinalizer(set, metav1.FinalizerDeleteDependents)
	})
	own := &addonsv1.RegistryCache{ObjectMeta: f.meta("own")}
	own.Spec.Caches = caches("ghcr.io")
	f.create(own)
	f.stays(rc)
	change(f, a, func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	f.gone("a")
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
	f.stays(own)
}

func orphans(f *fixture) {
	f.cluster("a")
	set := f.set("all")
	rc := f.cache(set, "a")
	f.counts(set, 1, 0)
	f.delete(set, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	f.Eventually(func() []string { _ = f.get(set)(); return set.Finalizers }).Should(Equal([]string{metav1.FinalizerOrphanDependents}))
	f.stays(rc)
}

// deletedForMove does what clusterctl does in the management cluster that it moves from.
func deletedForMove(f *fixture) {
	a := f.cluster("a")
	set := f.set("all")
	rc := f.cache(set, "a")
	f.counts(set, 1, 0)
	change(f, set, func(s *addonsv1.RegistryCacheSet) {
		s.Annotations = map[string]string{clusterctlv1.DeleteForMoveAnnotation: ""}
	})
	f.cluster("late")
	f.cache(set, "late") // a move that goes no further leaves a set that works
	f.delete(set)
	f.delete(a)
	f.stays(rc)
	f.Expect(f.get(set)()).To(Succeed())
	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Finalizers = nil })
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
	f.stays(rc)
}

// moved does what clusterctl does in the management cluster that it moves to: the Clusters are paused until all is there, and the
// RegistryCaches are as they were, with references to the new objects.
func moved(f *fixture) {
	a := f.cluster("a", func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) })
	set := f.set("all", func(s *addonsv1.RegistryCacheSet) {
		s.Annotations = map[string]string{addonsv1.SetSinceAnnotation: "2020-01-01T00:00:00Z"}
		s.Finalizers = []string{addonsv1.RegistryCacheSetFinalizer}
	})
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "the Cluster is paused")
	rc := &addonsv1.RegistryCache{ObjectMeta: f.meta("a"), Spec: *set.Spec.Template.Spec.DeepCopy()}
	rc.Labels = map[string]string{clusterv1.ClusterNameLabel: "a", addonsv1.SetLabel: "all"}
	controller := *metav1.NewControllerRef(set, addonsv1.GroupVersion.WithKind("RegistryCacheSet"))
	controller.BlockOwnerDeletion = ptr.To(false)
	rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: "a", UID: a.UID}, controller}
	f.create(rc)
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)
	change(f, a, func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	f.stays(rc)
	f.silent(set)
	f.Expect(set.Annotations).To(HaveKeyWithValue(addonsv1.SetSinceAnnotation, "2020-01-01T00:00:00Z"))
}
