package registrycache

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

func TestRejectionsAreToldFromFailuresThatMayPass(t *testing.T) {
	services := schema.GroupResource{Resource: "services"}
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", field.ErrorList{
		field.Invalid(field.NewPath("spec", "clusterIPs"), []string{"10.0.0.9"}, "failed to allocate IP 10.0.0.9: provided IP is already allocated"),
	})
	outside := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", field.ErrorList{
		field.Invalid(field.NewPath("spec", "clusterIPs"), []string{"10.0.0.9"}, "failed to allocate IP 10.0.0.9: the provided network does not match the current range"),
	})
	family := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", field.ErrorList{
		field.Invalid(field.NewPath("spec", "ipFamilies").Index(0), "IPv6", "not configured on this cluster"),
	})
	for name, tc := range map[string]struct {
		err                      error
		rejected, taken, refused bool
		message                  string
	}{
		"invalid, an address that is taken":        {invalid, true, true, false, "Service s: spec.clusterIPs Invalid value"},
		"invalid, an address of no range":          {outside, true, false, true, "Service s: spec.clusterIPs Invalid value"},
		"invalid, an address of another IP family": {family, true, false, true, "Service s: spec.ipFamilies[0] Invalid value"},
		"invalid, a field": {apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", field.ErrorList{field.Required(field.NewPath("spec", "ports"), "")}),
			true, false, false, "Service s: spec.ports Required value"},
		"forbidden by a quota": {apierrors.NewForbidden(services, "s", errors.New("exceeded quota: used 17")), true, false, false, "Service s: Forbidden, see the Events"},
		"not ours":             {apply.ErrForeign, true, false, false, "Service s: an object of this name exists"},
		"a time-out":           {apierrors.NewServerTimeout(services, "patch", 1), false, false, false, ""},
		"no connection":        {errors.New("connection refused"), false, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := fmt.Errorf("more: %w", &objectError{object: "Service s", err: tc.err})
			g.Expect(rejected(err)).To(Equal(tc.rejected))
			g.Expect(addressTaken(err)).To(Equal(tc.taken))
			g.Expect(addressRefused(err)).To(Equal(tc.refused))
			if tc.rejected {
				g.Expect(rejection(err)).To(HavePrefix(tc.message))
				g.Expect(rejection(err)).NotTo(ContainSubstring("17"))
			}
		})
	}
}
