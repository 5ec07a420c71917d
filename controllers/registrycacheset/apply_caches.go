package registrycacheset

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
)

// lookAgain is how soon the set looks again at what was not as the manager knew it.
const lookAgain = time.Second

// applyCaches writes every RegistryCache that is this set's and not as it wants it. One that fails keeps no other from being written.
func (r *Reconciler) applyCaches(ctx context.Context, s *scope) (ctrl.Result, error) {
	var errs []error
	result := ctrl.Result{}
	for _, c := range s.claims {
		if c.outcome != addonsv1.AppliedReason {
			continue
		}
		want := s.desired(c.cluster, c.cache)
		if c.cache != nil && same(c.cache, want) {
			r.refusals.forget(client.ObjectKeyFromObject(want))
			continue
		}
		next, err := r.write(ctx, s, c, want)
		result = util.LowestNonZeroResult(result, next)
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
			c.outcome, c.why = addonsv1.WaitingReason, "its RegistryCache was changed at the same time by somebody else"
			result = ctrl.Result{RequeueAfter: lookAgain}
		case err != nil:
			c.outcome, c.why = addonsv1.InternalErrorReason, "please check the log of the manager"
			errs = append(errs, fmt.Errorf("cluster %s: %w", c.cluster.Name, err))
		}
	}
	return result, kerrors.NewAggregate(errs)
}

// write sends one RegistryCache, unless the API server refused the same before. A refusal is the user's to mend, and what is there runs
// on (I5); it is sent again after a while.
func (r *Reconciler) write(ctx context.Context, s *scope, c *claim, want *addonsv1.RegistryCache) (ctrl.Result, error) {
	what := attempt(s, c)
	if message, holds := r.refusals.remembered(what, s.now); holds > 0 {
		c.outcome, c.why = addonsv1.RejectedReason, message
		return ctrl.Result{RequeueAfter: holds}, nil
	}
	err := r.send(ctx, c.cache, want)
	if answer.Final(err) {
		c.outcome, c.why = addonsv1.RejectedReason, refusalMessage(err)
		if r.refusals.remember(what, c.why, s.now) {
			r.event(s, c.cluster, corev1.EventTypeWarning, addonsv1.RejectedReason, "Apply", "The RegistryCache of Cluster %s is not accepted: %s", want.Name, c.why)
		}
		return ctrl.Result{RequeueAfter: retryAfter}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	r.refusals.forget(client.ObjectKeyFromObject(want))
	r.tellWritten(s, c, want)
	c.cache = want
	return ctrl.Result{}, nil
}

// send creates or changes a RegistryCache, if it still is the one that was looked at.
func (r *Reconciler) send(ctx context.Context, before, want *addonsv1.RegistryCache) error {
	if before == nil {
		return r.Client.Create(ctx, want)
	}
	return r.Client.Patch(ctx, want, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

func (r *Reconciler) tellWritten(s *scope, c *claim, want *addonsv1.RegistryCache) {
	switch {
	case c.cache == nil:
		r.event(s, want, corev1.EventTypeNormal, "Created", "Apply", "Cluster %s has got a RegistryCache", want.Name)
	case !metav1.IsControlledBy(c.cache, s.set):
		r.event(s, want, corev1.EventTypeNormal, "TakenOver", "Apply", "The RegistryCache of Cluster %s was taken over from %s", want.Name, metav1.GetControllerOf(c.cache).Name)
	case want.Generation != c.cache.Generation:
		r.event(s, want, corev1.EventTypeNormal, "Updated", "Apply", "The RegistryCache of Cluster %s follows the template", want.Name)
	}
}
