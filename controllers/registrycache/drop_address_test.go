package registrycache

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestOnlyAnAddressOfAnUnknownServiceCIDRIsDropped(t *testing.T) {
	const endpoint = "https://192.0.2.7:5000"
	invalid := func(message string, path *field.Path) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", field.ErrorList{field.Invalid(path, "192.0.2.7", message)})
	}
	clusterIPs := field.NewPath("spec", "clusterIPs")
	refused := invalid("failed to allocate IP 192.0.2.7: the provided network does not match the current range", clusterIPs)
	for name, tc := range map[string]struct {
		endpoint, reason string
		err              error
		want             bool
	}{
		"one that is refused":                       {endpoint, addonsv1.ServiceCIDRUnknownReason, refused, true},
		"of a Cluster that names its Service CIDR":  {endpoint, "", refused, false},
		"one that is taken":                         {endpoint, addonsv1.ServiceCIDRUnknownReason, invalid("provided IP is already allocated", clusterIPs), false},
		"of a Service that is refused otherwise":    {endpoint, addonsv1.ServiceCIDRUnknownReason, invalid("no", field.NewPath("spec", "ports")), false},
		"of a Service that cannot be reached":       {endpoint, addonsv1.ServiceCIDRUnknownReason, errors.New("connection refused"), false},
		"none: it would be applied again, for ever": {"", addonsv1.ServiceCIDRUnknownReason, refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serving()
			s.addressing.reason = tc.reason
			NewWithT(t).Expect(s.droppable(&addonsv1.CacheStatus{Upstream: "docker.io", Endpoint: tc.endpoint}, tc.err)).To(Equal(tc.want))
		})
	}
}

func TestAnAddressIsAskedForAgainBeforeItIsDropped(t *testing.T) {
	g := NewWithT(t)
	clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
	r := &Reconciler{Recorder: events.NewFakeRecorder(10), Clock: clock}
	r.init()
	entry := &addonsv1.CacheStatus{Upstream: "docker.io", Endpoint: "https://192.0.2.7:5000"}
	for _, waited := range []time.Duration{0, releaseRetry, rangeGrace - releaseRetry - 1} {
		clock.SetTime(clock.Now().Add(waited))
		again, result, err := r.dropAddress(serving(), entry)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(again).To(BeFalse())
		g.Expect(result).To(Equal(ctrl.Result{RequeueAfter: releaseRetry}))
		g.Expect(entry.Endpoint).To(Equal("https://192.0.2.7:5000"))
	}
	clock.SetTime(clock.Now().Add(1))
	again, result, err := r.dropAddress(serving(), entry)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(BeTrue())
	g.Expect(result).To(Equal(ctrl.Result{}))
	g.Expect(entry.Endpoint).To(BeEmpty())
}
