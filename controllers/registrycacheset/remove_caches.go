package registrycacheset

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
)

// removeCaches deletes the RegistryCaches of the set whose Cluster it does not match any more, or whose Cluster is gone. Their own
// controller lets nodes forget them first.
func (r *Reconciler) removeCaches(ctx context.Context, s *scope) (ctrl.Result, error) {
	matched := map[string]bool{}
	for _, c := range s.claims {
		matched[c.cluster.Name] = true
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.caches)) {
		rc := s.caches[name]
		if matched[name] || !metav1.IsControlledBy(rc, s.set) || !rc.DeletionTimestamp.IsZero() {
			continue
		}
		err := r.unselect(ctx, s, rc)
		if err != nil && !apierrors.IsConflict(err) {
			s.keeps(rc, notRemoved(err))
		}
		errs = append(errs, err)
	}
	return again(errs)
}

// again looks again soon at RegistryCaches that have changed since they were looked at; any other error stays one.
func again(errs []error) (ctrl.Result, error) {
	result := ctrl.Result{}
	if slices.ContainsFunc(errs, apierrors.IsConflict) {
		result.RequeueAfter = lookAgain
	}
	return result, kerrors.NewAggregate(slices.DeleteFunc(errs, apierrors.IsConflict))
}

// notRemoved says of a Cluster why its RegistryCache is still there.
func notRemoved(err error) string {
	why := "please check the log of the manager"
	if answer.Final(err) {
		why = refusalMessage(err)
	}
	return "its RegistryCache cannot be removed: " + why
}

// unselect takes its RegistryCache from a Cluster, unless that has to wait, or is for somebody else to decide.
func (r *Reconciler) unselect(ctx context.Context, s *scope, rc *addonsv1.RegistryCache) error {
	cluster := s.clusters[rc.Name]
	switch {
	case cluster == nil:
		gone, err := r.clusterIsGone(ctx, client.ObjectKeyFromObject(rc))
		if err != nil || !gone {
			return err
		}
		return r.remove(ctx, s, rc, "its Cluster is gone")
	case !cluster.DeletionTimestamp.IsZero():
		return nil
	case !heeded(cluster, s.watched):
		s.keeps(rc, fmt.Sprintf("it keeps its RegistryCache, but not the label %s=%s of this manager", clusterv1.WatchLabel, s.watched))
		return nil
	case hasVariable(cluster):
		s.keeps(rc, fmt.Sprintf("it is not selected any more and keeps its RegistryCache until that is made from the variable %s", addonsv1.ClusterVariable))
		return nil
	case isPaused(cluster):
		s.keeps(rc, "it is not selected any more and keeps its RegistryCache while it is paused")
		return nil
	default:
		return r.remove(ctx, s, rc, "the Cluster is not selected any more")
	}
}

// keeps notes why a RegistryCache of the set stays though its Cluster is not matched.
func (s *scope) keeps(rc *addonsv1.RegistryCache, why string) {
	s.leaving = append(s.leaving, verdict{rc.Name, why})
}

// clusterIsGone asks the API server for a Cluster that the manager does not know. It may have learned of the RegistryCache first, as when
// both have just been moved or restored here; then it learns of the Cluster in a moment, and looks again.
func (r *Reconciler) clusterIsGone(ctx context.Context, key client.ObjectKey) (bool, error) {
	err := r.APIReader.Get(ctx, key, &clusterv1.Cluster{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("looking for Cluster %s: %w", key.Name, err)
	}
	return err != nil, nil
}

// remove deletes exactly the RegistryCache that was looked at: one that has changed may have been taken over by its user.
func (r *Reconciler) remove(ctx context.Context, s *scope, rc *addonsv1.RegistryCache, why string) error {
	uid, version := rc.UID, rc.ResourceVersion
	err := r.Client.Delete(ctx, rc, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the RegistryCache of Cluster %s: %w", rc.Name, err)
	}
	r.event(s, rc, corev1.EventTypeNormal, "Removed", "Remove", "The RegistryCache of Cluster %s is removed, as %s", rc.Name, why)
	return nil
}
