package registrycacheset_test

import (
	"fmt"
	"strings"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func lifecycle(f *fixture) {
	a := f.cluster("a")
	f.cluster("other", func(c *clusterv1.Cluster) { c.Labels = nil })
	set := f.set("all")
	rc := f.cache(set, "a")
	f.Expect(rc.Labels).To(Equal(map[string]string{clusterv1.ClusterNameLabel: "a", addonsv1.SetLabel: "all"}))
	f.Expect(rc.Annotations).To(BeEmpty())
	f.Expect(rc.OwnerReferences).To(ConsistOf(
		And(HaveField("Kind", "RegistryCacheSet"), HaveField("UID", set.UID), HaveField("Controller", HaveValue(BeTrue()))),
		And(HaveField("Kind", "Cluster"), HaveField("UID", a.UID), HaveField("Controller", BeNil())),
	))
	f.told(set, "Created", "Cluster a has got")
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)
	f.eventually(set, addonsv1.ReadyCondition, metav1.ConditionFalse, clusterv1.NotReadyReason, "RegistryCache of 1 Clusters is not ready: a")
	f.ready(rc)
	f.counts(set, 1, 1)
	f.eventually(set, addonsv1.ReadyCondition, metav1.ConditionTrue, clusterv1.ReadyReason)
	f.none("other")

	f.cluster("b")
	f.cache(set, "b")
	f.counts(set, 2, 1)
	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.Template.Spec.Caches = caches("docker.io", "quay.io") })
	f.cache(set, "b")
	rc = f.cache(set, "a")
	f.told(set, "Updated", "Cluster a follows the template")

	change(f, rc, func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = caches("docker.io", "quay.io", "ghcr.io") })
	f.Eventually(func() []addonsv1.Cache { _ = f.get(rc)(); return rc.Spec.Caches }).Should(HaveLen(2), "somebody else's change is taken out")
	f.silent(set)

	f.holds(rc)
	change(f, a, func(c *clusterv1.Cluster) { delete(c.Labels, "caches") })
	f.deleting(rc)
	f.told(set, "Removed", "the Cluster is not selected any more")
	f.counts(set, 1, 0)
	change(f, a, func(c *clusterv1.Cluster) { c.Labels = map[string]string{"caches": "yes"} })
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason, "Cluster a: its former RegistryCache is being removed")
	former := rc.UID
	f.releases(rc)
	f.Eventually(func(g Gomega) { g.Expect(f.cache(set, "a").UID).NotTo(Equal(former)) }).Should(Succeed())
	f.eventually(set, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)

	change(f, set, func(s *addonsv1.RegistryCacheSet) { s.Spec.ClusterSelector = metav1.LabelSelector{} })
	f.cache(set, "other")
	f.counts(set, 3, 0)
}

func metadata(f *fixture) {
	f.cluster("a")
	set := f.set("all", func(s *addonsv1.RegistryCacheSet) {
		s.Labels = map[string]string{clusterv1.WatchLabel: "x"}
		s.Spec.Template.ObjectMeta = clusterv1.ObjectMeta{
			Labels:      map[string]string{"team": "infra", clusterv1.ClusterNameLabel: "wrong"},
			Annotations: map[string]string{addonsv1.RotateCAAnnotation: "1", "note": "n"},
		}
	})
	rc := f.cache(set, "a")
	f.Expect(rc.Labels).To(Equal(map[string]string{clusterv1.ClusterNameLabel: "a", addonsv1.SetLabel: "all", clusterv1.WatchLabel: "x", "team": "infra"}))
	f.Expect(rc.Annotations).To(And(HaveLen(3), HaveKeyWithValue("note", "n"), HaveKeyWithValue(addonsv1.RotateCAAnnotation, "1")))
	change(f, rc, func(rc *addonsv1.RegistryCache) { rc.Labels["mine"], rc.Annotations["mine"] = "1", "1" })
	change(f, set, func(s *addonsv1.RegistryCacheSet) {
		s.Spec.Template.ObjectMeta = clusterv1.ObjectMeta{Annotations: map[string]string{addonsv1.RotateCAAnnotation: "2"}}
	})
	f.Eventually(func(g Gomega) {
		g.Expect(f.get(rc)()).To(Succeed())
		g.Expect(rc.Annotations).To(And(HaveKeyWithValue(addonsv1.RotateCAAnnotation, "2"), HaveKey("mine"), Not(HaveKey("note"))))
		g.Expect(rc.Labels).To(And(HaveKeyWithValue(clusterv1.ClusterNameLabel, "a"), HaveKey("mine"), Not(HaveKey("team"))))
	}).Should(Succeed())
	f.silent(set)
}

func manyClusters(f *fixture) {
	const clusters = 100
	for i := range clusters {
		f.cluster(fmt.Sprintf("c%d", i))
	}
	set := f.set("all")
	f.counts(set, clusters, 0)
	list := &addonsv1.RegistryCacheList{}
	f.Eventually(func() int {
		_ = env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace))
		return len(list.Items)
	}).Should(Equal(clusters))
	f.eventually(set, addonsv1.RegistryCachesReadyCondition, metav1.ConditionFalse, addonsv1.RegistryCachesNotReadyReason, "100 Clusters is not ready: c0, c1,", "and 90 more")
	f.silent(set)
	created, others := 0, 0
	for _, write := range writes.in(f.namespace) {
		if strings.HasPrefix(write, "create") {
			created++
		} else {
			others++
		}
	}
	f.Expect(created).To(Equal(clusters))
	f.Expect(others).To(BeNumerically("<=", 10), "the finalizer, the age and the status of the set: %v", writes.in(f.namespace)[clusters:])
	f.told(set, "Created", "Cluster c0 has got a RegistryCache")
	f.told(set, "Created", "Cluster c99 has got a RegistryCache")
}

func clusterDeletion(f *fixture) {
	a := f.cluster("a", func(c *clusterv1.Cluster) { c.Finalizers = []string{held} })
	set := f.set("all")
	rc := f.cache(set, "a")
	f.counts(set, 1, 0)
	f.delete(a)
	f.counts(set, 0, 0)
	f.stays(rc)
	change(f, a, func(c *clusterv1.Cluster) { c.Finalizers = nil })
	f.gone("a")
	f.told(set, "Removed", "its Cluster is gone")
}
