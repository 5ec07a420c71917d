package answer_test

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
)

func TestCausesHaveOneOrder(t *testing.T) {
	g := NewWithT(t)
	b, a := field.Required(field.NewPath("spec", "b"), "two"), field.Required(field.NewPath("spec", "a"), "one")
	for _, errs := range []field.ErrorList{{a, b}, {b, a}} {
		err := error(apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "t", errs))
		g.Expect(answer.Causes(errors.Join(err))).To(HaveExactElements(HaveField("Field", "spec.a"), HaveField("Field", "spec.b")))
		g.Expect(answer.Final(err)).To(BeTrue())
	}
	again := apierrors.NewConflict(schema.GroupResource{Resource: "things"}, "t", errors.New("it has changed"))
	g.Expect(answer.Causes(again)).To(BeEmpty())
	g.Expect(answer.Final(again)).To(BeFalse())
}
