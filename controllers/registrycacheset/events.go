package registrycacheset

import (
	corev1 "k8s.io/api/core/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// event tells what happened to a set. The action is what the controller was doing.
func (r *Reconciler) event(s *scope, kind, reason, action, note string, args ...any) {
	r.Recorder.Eventf(s.set, nil, kind, reason, action, note, args...)
}

// tellOverruled tells, once, that the set does not get Clusters that it matches: when what the condition says of it has changed.
func (r *Reconciler) tellOverruled(s *scope, before string) {
	overruled := verdicts(s.claims, addonsv1.OverruledReason)
	if s.deleting() || len(overruled) == 0 || appliedMessage(s.set) == before {
		return
	}
	r.event(s, corev1.EventTypeWarning, addonsv1.OverruledReason, "Apply", "%d Clusters are not this set's, such as Cluster %s: %s",
		len(overruled), overruled[0].cluster, overruled[0].why)
}
