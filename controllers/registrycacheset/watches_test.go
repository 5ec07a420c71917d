package registrycacheset_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycacheset"
)

// TestAManagerWithAWatchFilterLooksAtItsSetsAndClustersOnly runs when the manager without a filter has stopped.
func TestAManagerWithAWatchFilterLooksAtItsSetsAndClustersOnly(t *testing.T) {
	f := newFixture(t)
	mgr := env.NewManager(t)
	reconciler := &registrycacheset.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("test"), WatchFilterValue: "some",
	}
	f.Expect(reconciler.SetupWithManager(t.Context(), mgr, controller.Options{})).To(Succeed())
	env.Start(t, mgr, false)

	f.cluster("a", watchLabel)
	b := f.cluster("b")
	own := &addonsv1.RegistryCache{ObjectMeta: f.meta("a")}
	own.Spec.Caches = caches("ghcr.io")
	f.create(own)
	theirs := f.set("theirs", func(s *addonsv1.RegistryCacheSet) { annotate(s, addonsv1.SetSinceAnnotation, "2020-01-01T00:00:00Z") })
	ours := f.set("ours", watchLabel)
	f.eventually(ours, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.OverruledReason, "1 of 1 Clusters", "Cluster a: its RegistryCache is hand-written")

	f.delete(own)
	rc := f.cache(ours, "a")
	f.Expect(rc.Labels).To(HaveKeyWithValue(clusterv1.WatchLabel, "some"))
	f.none("b")
	change(f, b, watchLabel[*clusterv1.Cluster])
	rc = f.cache(ours, "b")
	f.eventually(ours, addonsv1.AppliedCondition, metav1.ConditionTrue, addonsv1.AppliedReason)
	change(f, b, func(c *clusterv1.Cluster) { delete(c.Labels, clusterv1.WatchLabel) })
	f.eventually(ours, addonsv1.AppliedCondition, metav1.ConditionFalse, addonsv1.WaitingReason,
		"Cluster b: it keeps its RegistryCache, but not the label cluster.x-k8s.io/watch-filter=some of this manager")
	f.stays(rc)
	f.Expect(f.get(theirs)()).To(Succeed())
	f.Expect(theirs.Finalizers).To(BeEmpty(), "it is another manager's")
	f.Expect(theirs.Status.Conditions).To(BeEmpty())
}

func watchLabel[T client.Object](obj T) {
	labels := obj.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[clusterv1.WatchLabel] = "some"
	obj.SetLabels(labels)
}
