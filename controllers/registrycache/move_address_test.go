package registrycache

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

func TestMoveAddressGivesUpAnAddressOnlyIfItIsHeld(t *testing.T) {
	const refused, next = "https://10.96.1.0:5000", "https://10.96.0.254:5000"
	holder := func(change func(*corev1.Service)) []client.Object {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "holder"}}
		service.Spec.ClusterIP = "10.96.1.0"
		change(service)
		return []client.Object{service}
	}
	ours := func(instance string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Labels = manifests.Labels()
			s.Labels[addonsv1.InstanceLabel] = instance
		}
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		waited  time.Duration
		want    string
	}{
		"another Service holds it": {holder(func(*corev1.Service) {}), 0, next},
		"another Service holds it as its second": {holder(func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "fd00::1", []string{"fd00::1", "10.96.1.0"}
		}), 0, next},
		"another cache of ours holds it":             {holder(ours("registry-quay-io")), 0, next},
		"a cache that leaves holds it":               {holder(ours("registry-gone")), 0, refused},
		"nobody holds it, it is being released":      {nil, time.Second, refused},
		"nobody holds it, but it is never released":  {nil, releaseGrace, next},
		"a Service holds another address":            {holder(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.1" }), 0, refused},
		"a Service without address shares the range": {holder(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), 0, refused},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
			r := &Reconciler{Recorder: events.NewFakeRecorder(10), Clock: clock}
			r.init()
			c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(tc.objects...).Build()
			s := serving()
			s.cache.Spec.Namespace = "ns"
			s.cluster.Spec.ControlPlaneRef.Kind = kubeadmControlPlaneKind
			s.target = &apply.Target{Client: c, Live: c, Ours: manifests.Selector()}
			s.cache.Status.Caches = []addonsv1.CacheStatus{
				{Upstream: "docker.io", ServiceName: "registry-docker-io", Endpoint: refused},
				{Upstream: "quay.io", ServiceName: "registry-quay-io", Endpoint: "http://10.96.0.255:5000"},
			}
			if tc.waited > 0 {
				_, _, err := r.moveAddress(t.Context(), s, &s.cache.Status.Caches[0])
				g.Expect(err).NotTo(HaveOccurred())
				clock.SetTime(clock.Now().Add(tc.waited))
			}
			again, result, err := r.moveAddress(t.Context(), s, &s.cache.Status.Caches[0])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.cache.Status.Caches[0].Endpoint).To(Equal(tc.want))
			g.Expect(again).To(Equal(tc.want == next))
			want := ctrl.Result{}
			if tc.want == refused {
				want.RequeueAfter = releaseRetry
			}
			g.Expect(result).To(Equal(want))
		})
	}
}
