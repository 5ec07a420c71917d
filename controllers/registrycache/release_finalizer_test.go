package registrycache

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestAFailedPublicationHoldsADeletionOnlyIfItMayPass(t *testing.T) {
	for name, tc := range map[string]struct {
		failure error
		left    int
	}{
		"another webhook is down":  {apierrors.NewInternalError(context.DeadlineExceeded), 1},
		"the Secret is refused":    {apierrors.NewForbidden(corev1.Resource("secrets"), "c-registry-cache", nil), 0},
		"the Secret is as it must": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
			g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
			c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
				Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
					if tc.failure != nil {
						return tc.failure
					}
					return c.Apply(ctx, obj, options...)
				},
			}).Build()
			r := &Reconciler{Client: c, APIReader: c, Recorder: events.NewFakeRecorder(1)}
			r.init()
			s := serving()
			s.cluster.ObjectMeta = metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "uid"}
			s.cache.DeletionTimestamp, s.cache.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{addonsv1.RegistryCacheFinalizer}
			_, err := run(t.Context(), s, r.publishPayload, r.releaseFinalizer)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.cache.Finalizers).To(HaveLen(tc.left))
			g.Expect(s.errors()).To(HaveLen(tc.left), "it is tried again")
		})
	}
}
