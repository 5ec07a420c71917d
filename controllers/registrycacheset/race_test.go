package registrycacheset

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// What the manager knows is late by moments that no test can hit at a real API server: here it is the scope that is late.
func TestWhatAUserHasWrittenInTheMeantimeIsNeitherChangedNorRemoved(t *testing.T) {
	cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}
	template := addonsv1.RegistryCacheSpec{Caches: []addonsv1.Cache{{Upstream: "docker.io"}}}
	for name, tc := range map[string]struct {
		// known changes what the manager knows of the RegistryCache, which is as the set made it; nil: it knows of none.
		known     func(*addonsv1.RegistryCache)
		unmatched bool
		phase     func(*Reconciler) phase
	}{
		"one that was taken over is not changed":      {outdated, false, func(r *Reconciler) phase { return r.applyCaches }},
		"one that was made by hand is not changed":    {nil, false, func(r *Reconciler) phase { return r.applyCaches }},
		"one that was taken over is not unselected":   {outdated, true, func(r *Reconciler) phase { return r.removeCaches }},
		"one that was taken over outlives its set":    {outdated, false, func(r *Reconciler) phase { return r.removeAll }},
		"one that was taken over and changed is left": {released, false, func(r *Reconciler) phase { return r.letGo }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
			g.Expect(addonsv1.AddToScheme(scheme)).To(Succeed())
			set := &addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "all", UID: "1"}}
			set.Spec.Template.Spec = template
			s := &scope{set: set, clusters: map[string]*clusterv1.Cluster{"a": cluster}, caches: map[string]*addonsv1.RegistryCache{}}

			there := fake.NewClientBuilder().WithScheme(scheme).WithObjects(s.desired(cluster, nil), set.DeepCopy()).Build()
			now := &addonsv1.RegistryCache{}
			g.Expect(there.Get(t.Context(), client.ObjectKeyFromObject(cluster), now)).To(Succeed())
			known := now.DeepCopy()
			now.OwnerReferences, now.Spec.Caches = nil, []addonsv1.Cache{{Upstream: "quay.io"}}
			g.Expect(there.Update(t.Context(), now)).To(Succeed())
			c := &claim{cluster: cluster, outcome: addonsv1.AppliedReason}
			if tc.known != nil {
				tc.known(known)
				s.caches["a"], c.cache = known, known
			}
			r := &Reconciler{Client: there, APIReader: there, Recorder: events.NewFakeRecorder(1), refusals: newRefusals()}
			if !tc.unmatched {
				s.claims = []*claim{c}
			}
			result, err := tc.phase(r)(t.Context(), s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result).To(Equal(ctrl.Result{RequeueAfter: lookAgain}))
			after := &addonsv1.RegistryCache{}
			g.Expect(there.Get(t.Context(), client.ObjectKeyFromObject(cluster), after)).To(Succeed())
			g.Expect(after).To(Equal(now))
		})
	}
}

// outdated is not as the template says.
func outdated(rc *addonsv1.RegistryCache) { rc.Spec.Caches = nil }

// released has no controller reference.
func released(rc *addonsv1.RegistryCache) { rc.OwnerReferences = nil }
