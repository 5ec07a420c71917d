package topology

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

var (
	resource    = schema.GroupResource{Group: addonsv1.GroupVersion.Group, Resource: "registrycaches"}
	errNotFound = apierrors.NewNotFound(resource, "c")
	errConflict = apierrors.NewConflict(resource, "c", errors.New("it has changed"))
)

// What the manager knows is late by moments that no test can hit at a real API server; TestTheVariable has the rest.
func TestAManagerThatKnowsLessThanTheAPIServerLooksAgainAndFailsNot(t *testing.T) {
	again := ctrl.Result{RequeueAfter: lookAgain}
	late := interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
		if _, ok := obj.(*addonsv1.RegistryCache); ok {
			return errNotFound
		}
		return c.Get(ctx, key, obj, opts...)
	}}
	for name, tc := range map[string]struct {
		asked, exists bool
		funcs         interceptor.Funcs
		want          ctrl.Result
	}{
		"it has made the RegistryCache just now: the watch tells of it": {true, false, late, ctrl.Result{}},
		"somebody has made a RegistryCache":                             {true, true, late, again},
		"somebody has changed the RegistryCache": {true, true, interceptor.Funcs{
			Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return errConflict
			},
		}, again},
		"somebody has changed the RegistryCache that is to go": {false, true, interceptor.Funcs{
			Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
				return errConflict
			},
		}, again},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c", UID: "1"}}
			rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c", OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(cluster, clusterv1.GroupVersion.WithKind("Cluster")),
			}}}
			if tc.asked {
				value := apiextensionsv1.JSON{Raw: []byte(`{"caches":[{"upstream":"docker.io"}]}`)}
				cluster.Spec.Topology.Variables = []clusterv1.ClusterVariable{{Name: addonsv1.ClusterVariable, Value: value}}
			}
			objects := []client.Object{cluster}
			if tc.exists {
				objects = append(objects, rc)
			}
			result, err := reconciler(g, tc.funcs, objects...).Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(cluster)})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result).To(Equal(tc.want))
		})
	}
}

func reconciler(g *WithT, funcs interceptor.Funcs, objects ...client.Object) *Reconciler {
	scheme := runtime.NewScheme()
	g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
	g.Expect(addonsv1.AddToScheme(scheme)).To(Succeed())
	fields, err := variable.New()
	g.Expect(err).NotTo(HaveOccurred())
	there := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&addonsv1.RegistryCache{}).WithInterceptorFuncs(funcs).Build()
	return &Reconciler{Client: there, Recorder: events.NewFakeRecorder(10), schema: fields, told: newTold()}
}
