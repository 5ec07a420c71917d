package topology

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/origin"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

// writeCache makes the RegistryCache what the variable says, and the Cluster its controller.
func (r *Reconciler) writeCache(ctx context.Context, s *scope) error {
	if s.cache == nil {
		return r.createCache(ctx, s)
	}
	after := s.cache.DeepCopy()
	if err := r.shape(s, after); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(s.cache, after) {
		return nil
	}
	before, taken := s.cache, origin.Of(s.cache) != origin.Variable
	err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if refused(s, err) || outdated(s, err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("updating the RegistryCache: %w", err)
	}
	s.cache = after
	if taken {
		controller := metav1.GetControllerOf(before)
		r.event(s, corev1.EventTypeNormal, "RegistryCacheTakenOver", "The RegistryCache of %s %s is made from the variable %s now; its caches run on",
			controller.Kind, controller.Name, addonsv1.ClusterVariable)
	} else if before.Generation != after.Generation {
		r.event(s, corev1.EventTypeNormal, "RegistryCacheUpdated", "The RegistryCache is what the variable %s says now", addonsv1.ClusterVariable)
	}
	return nil
}

func (r *Reconciler) createCache(ctx context.Context, s *scope) error {
	rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: s.cluster.Namespace, Name: s.cluster.Name}}
	if err := r.shape(s, rc); err != nil {
		return err
	}
	err := r.Client.Create(ctx, rc)
	if refused(s, err) || outdated(s, err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating the RegistryCache: %w", err)
	}
	s.cache, s.created = rc, true
	r.event(s, corev1.EventTypeNormal, "RegistryCacheCreated", "The RegistryCache was made from the variable %s", addonsv1.ClusterVariable)
	return nil
}

// shape changes a RegistryCache to what is wanted, and nothing else of it.
func (r *Reconciler) shape(s *scope, rc *addonsv1.RegistryCache) error {
	if !equality.Semantic.DeepEqual(rc.Spec, *s.wanted) { // the same may be written in another way, such as 10Gi and 10240Mi
		rc.Spec = *s.wanted.DeepCopy()
	}
	if r.WatchFilterValue != "" && rc.Labels[clusterv1.WatchLabel] != r.WatchFilterValue {
		metav1.SetMetaDataLabel(&rc.ObjectMeta, clusterv1.WatchLabel, r.WatchFilterValue)
	}
	if metav1.IsControlledBy(rc, s.cluster) {
		return nil
	}
	// The controller is a RegistryCacheSet, or a Cluster of this name that there was before.
	rc.OwnerReferences = slices.DeleteFunc(rc.OwnerReferences, func(o metav1.OwnerReference) bool { return ptr.Deref(o.Controller, false) })
	delete(rc.Labels, addonsv1.SetLabel)
	delete(rc.Annotations, addonsv1.SetMetadataAnnotation)
	// A Cluster that is deleted in the foreground does not wait for its caches (I8).
	err := controllerutil.SetControllerReference(s.cluster, rc, r.Client.Scheme(), controllerutil.WithBlockOwnerDeletion(false))
	if err != nil {
		return fmt.Errorf("making the Cluster the controller of the RegistryCache: %w", err)
	}
	return nil
}

// refused records an answer of the API server that would be the same at the next try. The user has to mend it.
func refused(s *scope, err error) bool {
	if !answer.Final(err) {
		return false
	}
	s.refuse(addonsv1.VariableRejectedReason, variable.Rejection(err), variable.StrikeOut(err.Error()))
	return true
}

// outdated records that somebody was faster: the RegistryCache has changed, has come or has gone since it was looked at.
func outdated(s *scope, err error) bool {
	s.outdated = apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
	return s.outdated
}

// removeCache deletes the RegistryCache of a variable that is gone. One of anybody else stays.
func (r *Reconciler) removeCache(ctx context.Context, s *scope) error {
	if s.cache == nil || origin.Of(s.cache) != origin.Variable {
		return nil
	}
	// Somebody may take it into their own hands at this moment.
	unchanged := client.Preconditions{UID: &s.cache.UID, ResourceVersion: &s.cache.ResourceVersion}
	err := r.Client.Delete(ctx, s.cache, unchanged)
	if outdated(s, err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the RegistryCache: %w", err)
	}
	r.event(s, corev1.EventTypeNormal, "RegistryCacheDeleted", "The RegistryCache goes, as the Cluster has no variable %s any more", addonsv1.ClusterVariable)
	s.cache = nil
	return nil
}
