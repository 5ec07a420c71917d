package registrycache

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// errReplaced says that a StatefulSet is going, and is made anew once it is gone; the watch of its end wakes the controller.
var errReplaced = errors.New("the StatefulSet is being replaced")

// immutable says whether the API server refused an update of a StatefulSet for nothing but that fields cannot be changed. If
// anything else is wrong with it, it would not be made anew either.
func immutable(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	causes := status.Status().Details.Causes
	return len(causes) == 1 && causes[0].Type == metav1.CauseTypeForbidden && causes[0].Field == "spec"
}

// replaceStatefulSet removes a StatefulSet that cannot be changed into what is wanted. One with the same store leaves its Pods
// and claims to the next. Another store was asked for by removing the cache and adding it again, which the nodes need not have
// been told of yet: it begins empty. The error is errReplaced if all went well.
func (r *Reconciler) replaceStatefulSet(ctx context.Context, s *scope, wanted *appsv1.StatefulSet) error {
	live := &appsv1.StatefulSet{}
	err := s.target.Live.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) || err == nil && !live.DeletionTimestamp.IsZero() {
		return errReplaced
	}
	if err != nil {
		return fmt.Errorf("looking at StatefulSet %s: %w", wanted.Name, err)
	}
	propagation, store := metav1.DeletePropagationOrphan, "its store stays"
	if !sameStore(live, wanted) {
		propagation, store = metav1.DeletePropagationBackground, "its store begins empty"
		if err := r.removeClaims(ctx, s, live); err != nil {
			return err
		}
	}
	err = s.target.Client.Delete(ctx, live, client.PropagationPolicy(propagation), client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return errReplaced
	}
	if err != nil {
		return fmt.Errorf("removing StatefulSet %s to make it anew: %w", live.Name, err)
	}
	r.event(s, corev1.EventTypeNormal, "CacheReplaced", "Apply", "Replacing the StatefulSet of the cache of %s, fields of which cannot be changed; %s",
		live.Annotations[addonsv1.UpstreamAnnotation], store)
	return errReplaced
}

// sameStore says whether the volumes of a StatefulSet can be those of another, which may want larger ones.
func sameStore(live, wanted *appsv1.StatefulSet) bool {
	has, wants := live.Spec.VolumeClaimTemplates, wanted.Spec.VolumeClaimTemplates
	if len(has) != len(wants) {
		return false
	}
	for i := range has {
		class := ptr.Equal(has[i].Spec.StorageClassName, wants[i].Spec.StorageClassName)
		size := wants[i].Spec.Resources.Requests.Storage().Cmp(*has[i].Spec.Resources.Requests.Storage())
		if has[i].Name != wants[i].Name || !class || size < 0 {
			return false
		}
	}
	return true
}

func (r *Reconciler) removeClaims(ctx context.Context, s *scope, of *appsv1.StatefulSet) error {
	claims, err := apply.List(ctx, s.target.Live, s.target.Ours, of.Namespace, []client.ObjectList{&corev1.PersistentVolumeClaimList{}})
	if err != nil {
		return fmt.Errorf("looking for the claims of %s: %w", of.Name, err)
	}
	others := func(claim client.Object) bool { return claim.GetLabels()[addonsv1.InstanceLabel] != of.Name }
	if _, err := apply.Prune(ctx, *s.target, claims, others); err != nil {
		return fmt.Errorf("removing the claims of %s: %w", of.Name, err)
	}
	return nil
}

// claimWanted says whether a claim belongs to a replica that the cache of an upstream still has.
func (s *scope) claimWanted(upstream string, claim client.Object) bool {
	for _, cache := range s.cache.Spec.Caches {
		if cache.Upstream == upstream {
			ordinal, ok := manifests.ClaimOrdinal(claim.GetName(), claim.GetLabels()[addonsv1.InstanceLabel])
			return !ok || ordinal < int(ptr.Deref(cache.Replicas, 1))
		}
	}
	return false
}
