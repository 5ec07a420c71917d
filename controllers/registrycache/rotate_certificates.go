package registrycache

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

// ignoredNodesOverlap is how long nodes get to learn of a new authority by Machine rollouts, if the spec leaves those that exist alone.
const ignoredNodesOverlap = 30 * 24 * time.Hour

// An authority is replaced in three steps, each of which every node and every cache has taken before the next:
//
//  1. a successor is made; nodes trust both (ensureAuthority, and what tells nodes)
//  2. every cache gets a certificate of the successor (rotateCertificates)
//  3. nodes trust the successor alone (rotateCertificates)
//
// How far it is can be read from the Secret of the authority and from the certificates, so nothing else has to be remembered. The key
// of the predecessor is dropped in step 1: what has to be signed before step 2 is a cache that is new, or has another address, of
// which nodes learn together with the successor.

// successorDue says whether step 1 has to be taken: the user asks, or the authority is near its end. One replacement ends before the
// next begins.
func (r *Reconciler) successorDue(s *scope) bool {
	if len(s.authority.trusted) > 1 {
		return false
	}
	asked := s.cache.Annotations[addonsv1.RotateCAAnnotation]
	if asked != "" && asked != s.authority.secret.Annotations[addonsv1.RotateCAAnnotation] {
		return true
	}
	return !r.Clock.Now().Before(s.authority.ca.Certificate.NotAfter.Add(-authority.RenewBefore))
}

// succeed is step 1.
func (r *Reconciler) succeed(ctx context.Context, s *scope) error {
	successor, err := authority.New(r.Clock.Now())
	if err != nil {
		return err
	}
	next := authorityFact{ca: successor, trusted: s.authority.trusted.With(successor.Certificate), secret: s.authority.secret.DeepCopy()}
	if err := next.store(s.cache); err != nil {
		return err
	}
	err = r.patchAuthority(ctx, s, func(secret *corev1.Secret) {
		secret.Data, secret.Annotations = next.secret.Data, next.secret.Annotations
	})
	if err != nil {
		return err
	}
	s.authority.ca, s.authority.trusted = next.ca, next.trusted
	r.event(s, corev1.EventTypeNormal, "AuthorityRotationStarted", "Certify", "Nodes are told to trust a new certificate authority beside the one before; then the caches get certificates of it")
	return nil
}

// rotateCertificates takes steps 2 and 3 when they are due, and says when something is due next.
func (r *Reconciler) rotateCertificates(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.authority.ca == nil {
		return ctrl.Result{}, nil
	}
	wait := s.takenOverIn(r.Clock.Now())
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		if wait == 0 && fact.certificate != nil && !authority.SignedBy(fact.certificate, s.authority.ca.Certificate) {
			r.record(s, cache, fact, r.issue(ctx, s, cache, s.status(cache.Upstream), fact))
		}
	}
	result, err := r.retire(ctx, s)
	return util.LowestNonZeroResult(util.LowestNonZeroResult(result, ctrl.Result{RequeueAfter: max(wait, 0)}), r.nextRenewal(s)), err
}

// takenOverIn is how long it takes until every node that is waited for trusts the newest authority: 0 if that is so, negative if it is
// not known; then something else wakes the controller.
func (s *scope) takenOverIn(now time.Time) time.Duration {
	switch {
	case len(s.authority.trusted) == 1:
		return 0
	case s.nodes.ignored:
		return max(0, authority.IssuedAt(s.authority.ca.Certificate).Add(ignoredNodesOverlap).Sub(now))
	case s.forgotten:
		return 0
	default:
		return -1
	}
}

// retire is step 3, once all caches had the time to take over their certificates: a Secret reaches a Pod that runs within minutes.
func (r *Reconciler) retire(ctx context.Context, s *scope) (ctrl.Result, error) {
	newest := s.authority.ca.Certificate
	if len(s.authority.trusted) == 1 {
		return ctrl.Result{}, nil
	}
	last := authority.IssuedAt(newest)
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		if fact.uncertified {
			continue
		}
		if fact.certificate == nil || !authority.SignedBy(fact.certificate, newest) {
			return ctrl.Result{}, nil
		}
		if issued := authority.IssuedAt(fact.certificate); issued.After(last) {
			last = issued
		}
	}
	if wait := last.Add(r.CertificateOverlap).Sub(r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	alone := authority.Bundle{newest}
	if err := r.patchAuthority(ctx, s, func(secret *corev1.Secret) { secret.Data[bundleKey] = alone.PEM() }); err != nil {
		return ctrl.Result{}, err
	}
	s.authority.trusted, s.cache.Status.CABundle = alone, alone.PEM()
	r.event(s, corev1.EventTypeNormal, "AuthorityRotated", "Certify", "Every cache has a certificate of the new authority; nodes are told not to trust the one before any more")
	return ctrl.Result{}, nil
}

// nextRenewal is when the first certificate, or the authority, has to be renewed.
func (r *Reconciler) nextRenewal(s *scope) ctrl.Result {
	next := s.authority.ca.Certificate.NotAfter.Add(-authority.RenewBefore)
	for _, fact := range s.facts {
		if fact.certificate == nil {
			continue
		}
		if due := authority.RenewAt(fact.certificate); due.Before(next) {
			next = due
		}
	}
	if wait := next.Sub(r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}
	}
	return ctrl.Result{}
}
