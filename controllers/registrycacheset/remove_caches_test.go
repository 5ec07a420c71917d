package registrycacheset

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// A real API server cannot be made to tell of a RegistryCache before its Cluster; TestRegistryCacheSets has the rest.
func TestARegistryCacheStaysWhenTheManagerHasNotHeardOfItsCluster(t *testing.T) {
	for name, tc := range map[string]struct {
		there []client.Object
		stays bool
	}{
		"a Cluster that the API server knows": {[]client.Object{&clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}}, true},
		"no Cluster":                          {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
			g.Expect(addonsv1.AddToScheme(scheme)).To(Succeed())
			set := &addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "all", UID: "1"}}
			rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a", OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(set, addonsv1.GroupVersion.WithKind("RegistryCacheSet")),
			}}}
			known := fake.NewClientBuilder().WithScheme(scheme).WithObjects(set, rc).Build()
			r := &Reconciler{
				Client: known, APIReader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(tc.there...).Build(),
				Recorder: events.NewFakeRecorder(1),
			}
			s := &scope{set: set}
			_, err := run(t.Context(), s, r.lookAround, r.removeCaches)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(known.Get(t.Context(), client.ObjectKeyFromObject(rc), rc) == nil).To(Equal(tc.stays))
		})
	}
}
