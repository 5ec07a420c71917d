package registrycacheset_test

import (
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func twoSets(f *fixture) {
	f.cluster("a")
	first := f.set("zz-first", func(s *addonsv1.RegistryCacheSet) {
		s.Spec.Template.ObjectMeta.Labels = map[string]string{"of": "first"}
	})
	rc := f.cache(first, "a")
	f.Eventually(func() map[string]string { _ = f.get(first)(); return first.Annotations }).
		Should(HaveKeyWithValue(addonsv1.SetSinceAnnotation, first.CreationTimestamp.UTC().Format(time.RFC3339)))

	second := f.set("second", func(s *addonsv1.RegistryCacheSet) {
		s.Annotations = map[string]string{addonsv1.SetSinceAnnotation: time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
		s.Spec.Template.Spec.Caches = caches("quay.io")
	})
	f.eventually(second, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "1 of 1 Clusters", "Cluster a: RegistryCacheSet zz-first matches it and is older")
	f.eventually(second, addonsv1.ReadyCondition, metav1.ConditionFalse, clusterv1.NotReadyReason, "zz-first")
	f.told(second, addonsv1.OverruledReason, "such as Cluster a: RegistryCacheSet zz-first")
	f.counts(second, 1, 0)
	f.silent(second)
	f.stays(rc)

	f.holds(rc)
	f.delete(first)
	f.deleting(rc)
	f.eventually(second, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "its former RegistryCache is being removed")
	f.releases(rc)
	f.Eventually(f.get(first)).Should(MatchError(ContainSubstring("not found")))
	rc = f.cache(second, "a")

	older := f.set("moved", func(s *addonsv1.RegistryCacheSet) {
		s.Annotations = map[string]string{addonsv1.SetSinceAnnotation: "2020-01-01T00:00:00Z"}
		s.Spec.Template.Spec.Caches = caches("ghcr.io")
	})
	taken := f.cache(older, "a")
	f.Expect(taken.UID).To(Equal(rc.UID), "in place: what runs goes on")
	f.Expect(taken.Labels).To(HaveKeyWithValue(addonsv1.SetLabel, "moved"))
	f.told(older, "TakenOver", "from second")
	f.eventually(second, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "RegistryCacheSet moved matches it and is older")
	f.silent(second)
}

func handWritten(f *fixture) {
	a := f.cluster("a")
	own := &addonsv1.RegistryCache{ObjectMeta: f.meta("a")}
	own.Spec.Caches = caches("ghcr.io")
	f.create(own)
	set := f.set("all")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "Cluster a: its RegistryCache is hand-written")
	f.told(set, addonsv1.OverruledReason, "Cluster a: its RegistryCache is hand-written")
	f.counts(set, 1, 0)
	f.stays(own)
	f.silent(set)
	f.delete(own)
	rc := f.cache(set, "a")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)

	change(f, rc, func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: "a", UID: a.UID}}
		rc.Spec.Caches = caches("docker.io", "ghcr.io")
	})
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "hand-written")
	f.Eventually(func() map[string]string { _ = f.get(rc)(); return rc.Labels }).ShouldNot(HaveKey(addonsv1.SetLabel), "no deletion of the set reaches it")
	f.Expect(rc.Spec.Caches).To(HaveLen(2))
	f.silent(set)
	f.delete(set)
	f.Eventually(f.get(set)).Should(MatchError(ContainSubstring("not found")))
	f.Expect(f.get(rc)()).To(Succeed())
	f.Expect(rc.DeletionTimestamp).To(BeNil())
}

func variable(f *fixture) {
	withVariable := func(c *clusterv1.Cluster) {
		c.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{}
		c.Spec.Topology = clusterv1.Topology{
			ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: "v1.36.0",
			Variables: []clusterv1.ClusterVariable{{Name: addonsv1.ClusterVariable, Value: apiextensionsv1.JSON{Raw: []byte(`{"caches":[]}`)}}},
		}
	}
	f.cluster("a", withVariable)
	b := f.cluster("b")
	set := f.set("all")
	rc := f.cache(set, "b")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "Cluster a: its topology has the variable registryCache")
	f.none("a")

	change(f, b, withVariable)
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "Cluster b: its topology has the variable")
	f.stays(rc)
	change(f, b, func(c *clusterv1.Cluster) { delete(c.Labels, "caches") })
	f.counts(set, 1, 0)
	f.stays(rc)
	change(f, b, func(c *clusterv1.Cluster) { c.Labels = map[string]string{"caches": "yes"} })

	// As the controller of the variable does: the controller reference and the spec are replaced.
	change(f, rc, func(rc *addonsv1.RegistryCache) {
		rc.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b, clusterv1.GroupVersion.WithKind("Cluster"))}
		rc.Spec.Caches = caches("ghcr.io")
	})
	f.stays(rc)
	change(f, b, func(c *clusterv1.Cluster) { c.Spec.Topology.Variables = nil })
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "Cluster b: its RegistryCache is still kept by Cluster b")
	f.stays(rc)
	f.delete(rc)
	f.cache(set, "b")
}
