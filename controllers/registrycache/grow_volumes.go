package registrycache

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// volumeFact is what is known of the volumes of one cache.
type volumeFact struct {
	// replaced: the StatefulSet is on its way out, without its Pods, and comes back with another template of claims.
	replaced bool
	// notGrown and growing say which claims do not have their size, and why.
	notGrown, growing []string
}

// growVolumes gives the claims of a cache the size that the values ask for. The template of claims in a StatefulSet can never
// change, so the StatefulSet is deleted without its Pods and claims, and made again; the new one takes them over by their labels, and
// as its template of Pods is the same, none starts again. Every step looks at what there is, so it goes on wherever it was interrupted.
//
// Where a claim cannot grow, values get the size that there is, and everything else of the cache is still applied (I5).
func (r *Reconciler) growVolumes(ctx context.Context, s *scope, cache addonsv1.Cache, values *manifests.Values, fact *cacheFact) error {
	wanted := manifests.VolumeSize(*values)
	set, err := claimingSet(ctx, s, values, wanted)
	if set == nil || err != nil {
		return err
	}
	if fact.volume.replaced = !set.DeletionTimestamp.IsZero(); fact.volume.replaced {
		return nil
	}
	current := claimed(set)
	class := set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName
	if values.Volume.Type == addonsv1.EmptyDirVolume || wanted.Cmp(current) < 0 || !ptr.Equal(values.Volume.StorageClassName, class) {
		return nil // another store, which replaceStatefulSet begins
	}
	grown, err := r.growClaims(ctx, s, cache, fact, wanted)
	switch {
	case err != nil:
		return err
	case !grown:
		values.Volume.Size = &current
		return nil
	case wanted.Cmp(current) == 0:
		return nil
	}
	fact.volume.replaced = true
	return orphan(ctx, s, set)
}

// claimingSet is the StatefulSet of a cache with claims, nil if there is none. The cache of the workload cluster answers as long as it
// says what is wanted.
func claimingSet(ctx context.Context, s *scope, values *manifests.Values, wanted resource.Quantity) (*appsv1.StatefulSet, error) {
	for _, reader := range []client.Reader{s.target.Client, s.target.Live} {
		set := &appsv1.StatefulSet{}
		err := reader.Get(ctx, client.ObjectKey{Namespace: values.Namespace, Name: values.Name}, set)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("looking at the StatefulSet: %w", err)
		}
		ours := err == nil && s.target.Ours.Matches(labelsOf(set)) && len(set.Spec.VolumeClaimTemplates) > 0
		asWanted := ours && set.DeletionTimestamp.IsZero() && wanted.Cmp(claimed(set)) == 0
		if asWanted || ours && reader == s.target.Live {
			return set, nil
		}
	}
	return nil, nil
}

// claimed is the size that a StatefulSet gives to new claims.
func claimed(set *appsv1.StatefulSet) resource.Quantity {
	return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
}

// orphan deletes a StatefulSet, exactly as it was seen, and leaves its Pods and claims to the next one.
func orphan(ctx context.Context, s *scope, set *appsv1.StatefulSet) error {
	err := s.target.Client.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // the next reconcile sees what it is then
		return nil
	}
	return err
}

// growClaims asks for the size in every claim of the cache, and tells whether all have asked for it.
func (r *Reconciler) growClaims(ctx context.Context, s *scope, cache addonsv1.Cache, fact *cacheFact, wanted resource.Quantity) (bool, error) {
	claims := &corev1.PersistentVolumeClaimList{}
	if err := s.target.Client.List(ctx, claims, client.InNamespace(s.cache.Spec.Namespace), client.MatchingLabels{addonsv1.InstanceLabel: fact.instance}); err != nil {
		return false, fmt.Errorf("listing the claims: %w", err)
	}
	all := true
	for i := range claims.Items {
		claim := &claims.Items[i]
		if !s.target.Ours.Matches(labelsOf(claim)) || !claim.DeletionTimestamp.IsZero() {
			continue
		}
		asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if asked.Cmp(wanted) >= 0 {
			fact.volume.observe(claim)
			continue
		}
		problem, err := r.growClaim(ctx, s, cache, claim, wanted)
		if err != nil {
			return false, err
		}
		if problem != "" {
			all = false
			fact.volume.notGrown = append(fact.volume.notGrown, fmt.Sprintf("volume.size: PersistentVolumeClaim %s stays at %s of %s: %s", claim.Name, &asked, &wanted, problem))
			continue
		}
		fact.volume.growing = append(fact.volume.growing, growing(claim, wanted))
	}
	return all, nil
}

// growClaim asks for more, unless it is known that it would be refused; then it says why.
func (r *Reconciler) growClaim(ctx context.Context, s *scope, cache addonsv1.Cache, claim *corev1.PersistentVolumeClaim, wanted resource.Quantity) (string, error) {
	if claim.Status.Phase != corev1.ClaimBound {
		return "it is not bound to a volume yet", nil
	}
	problem, err := expandable(ctx, s, ptr.Deref(claim.Spec.StorageClassName, ""))
	if problem != "" || err != nil {
		return problem, err
	}
	before := claim.DeepCopy()
	claim.Spec.Resources.Requests[corev1.ResourceStorage] = wanted
	err = s.target.Client.Patch(ctx, claim, client.MergeFrom(before))
	if err == nil {
		r.event(s, corev1.EventTypeNormal, "VolumeGrowing", "Grow", "PersistentVolumeClaim %s of the cache of %s grows to %s", claim.Name, cache.Upstream, &wanted)
		return "", nil
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return rejection(&objectError{object: "PersistentVolumeClaim", err: err}), nil
	}
	return "", fmt.Errorf("growing PersistentVolumeClaim %s: %w", claim.Name, err)
}

// expandable says why volumes of a StorageClass do not grow, "" if they do.
func expandable(ctx context.Context, s *scope, name string) (string, error) {
	if name == "" {
		return "it has no StorageClass; accepted is one with allowVolumeExpansion", nil
	}
	class := &storagev1.StorageClass{}
	err := s.target.Live.Get(ctx, client.ObjectKey{Name: name}, class)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("StorageClass %s does not exist; accepted is one with allowVolumeExpansion", name), nil
	case err != nil:
		return "", fmt.Errorf("looking at StorageClass %s: %w", name, err)
	case !ptr.Deref(class.AllowVolumeExpansion, false):
		return fmt.Sprintf("StorageClass %s has no allowVolumeExpansion; accepted is one that has it, or the size of before", name), nil
	default:
		return "", nil
	}
}

// observe looks at a claim that has asked for its size.
func (f *volumeFact) observe(claim *corev1.PersistentVolumeClaim) {
	asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	capacity := claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || capacity.Cmp(asked) >= 0 {
		return
	}
	switch claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] {
	case corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		f.notGrown = append(f.notGrown, fmt.Sprintf("volume.size: PersistentVolumeClaim %s stays at %s of %s: its volume cannot be made that large, the Events of the claim say why",
			claim.Name, &capacity, &asked))
	default:
		f.growing = append(f.growing, growing(claim, asked))
	}
}

func growing(claim *corev1.PersistentVolumeClaim, wanted resource.Quantity) string {
	return fmt.Sprintf("PersistentVolumeClaim %s has %s of %s", claim.Name, claim.Status.Capacity.Storage(), &wanted)
}
