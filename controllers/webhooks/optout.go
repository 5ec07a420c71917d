package webhooks

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// bootstrapGroup is the API group of bootstrap configs by contract:
// https://cluster-api.sigs.k8s.io/developer/providers/contracts/bootstrap-config
const bootstrapGroup = "bootstrap.cluster.x-k8s.io"

// +kubebuilder:rbac:groups=bootstrap.cluster.x-k8s.io,resources=*,verbs=get

// optedOut tells whether the bootstrap config that owns the data wants no caches. It is read from the API server: a cache
// would have to hold the configs of every provider, and may not have seen one that was just made.
//
// A config that is not there or may not be read cannot be shown to opt out. Any other failure is an error, which leaves the data
// as it is: a Machine without caches pulls from the upstreams as ever, but one that was to have none may not work with them.
func (h *bootstrapData) optedOut(ctx context.Context, in injection) (bool, error) {
	owner := bootstrapConfig(in.secret.OwnerReferences)
	if owner == nil {
		return false, nil
	}
	config := &metav1.PartialObjectMetadata{}
	config.SetGroupVersionKind(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind))
	err := h.live.Get(ctx, client.ObjectKey{Namespace: in.req.Namespace, Name: owner.Name}, config)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || meta.IsNoMatchError(err) {
		ctrl.LoggerFrom(ctx).Info("The bootstrap config cannot be read, so nothing is known of an opt-out", "kind", owner.Kind, "name", owner.Name, "reason", err.Error())
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the annotations of %s %s: %w", owner.Kind, owner.Name, err)
	}
	value, found := config.Annotations[v1alpha1.OptOutAnnotation]
	if found && value != v1alpha1.OptOutValue {
		h.tell(in, OptOutNotUnderstoodEventReason, actionInject, fmt.Sprintf("is of %s %s with the annotation %s: %.40q, which is ignored; accepted is %q, or no such annotation",
			owner.Kind, owner.Name, v1alpha1.OptOutAnnotation, value, v1alpha1.OptOutValue))
	}
	return value == v1alpha1.OptOutValue, nil
}

// bootstrapConfig is the owner that makes a Secret one of bootstrap data, as the match conditions of the webhook have it.
func bootstrapConfig(owners []metav1.OwnerReference) *metav1.OwnerReference {
	i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool {
		return schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).Group == bootstrapGroup
	})
	if i < 0 {
		return nil
	}
	return &owners[i]
}
