package topology

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/origin"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

// yield leaves a hand-written RegistryCache to its author.
func (r *Reconciler) yield(_ context.Context, s *scope) error {
	if s.cache == nil || origin.Of(s.cache) != origin.HandWritten {
		return nil
	}
	keeper := "is hand-written, as it has no controller"
	if controller := metav1.GetControllerOf(s.cache); controller != nil {
		keeper = fmt.Sprintf("is kept by %s %s", controller.Kind, controller.Name)
	}
	s.refuse(addonsv1.HandWrittenReason, fmt.Sprintf("The RegistryCache %s, so the variable %s of the Cluster has no effect; "+
		"accepted is to take the variable away, or to delete the RegistryCache, which is then made from the variable", keeper, addonsv1.ClusterVariable), "")
	return nil
}

// readVariable finds out what spec the variable means.
func (r *Reconciler) readVariable(ctx context.Context, s *scope) error {
	wanted, errs := r.schema.Parse(ctx, s.value)
	if len(errs) > 0 {
		s.refuse(addonsv1.VariableInvalidReason, variable.Message(errs), "")
		return nil
	}
	s.wanted = wanted
	return nil
}
