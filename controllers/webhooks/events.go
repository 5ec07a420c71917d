package webhooks

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the Events of a RegistryCache that are about bootstrap data. The Secret is the related object: the recorder counts
// Events without it as one.
const (
	// PassedThroughEventReason tells of data that was passed through unchanged: nothing can be put into it, or it would become
	// too large.
	PassedThroughEventReason = "BootstrapDataPassedThrough"
	// LargeEventReason tells of data that was injected and has become larger than some clouds take.
	LargeEventReason = "BootstrapDataLarge"
	// OptOutNotUnderstoodEventReason tells of an annotation whose value is not known.
	OptOutNotUnderstoodEventReason = "OptOutNotUnderstood"
)

// Actions of Events.
const (
	actionInject      = "Inject"
	actionPassThrough = "PassThrough"
)

// eventLife is how long API servers keep Events by default. Data of a MachinePool is written twice with each rotation of its
// token, so the same is told of a Secret only once in that time.
const eventLife = time.Hour

// notice is something that was told of a Secret.
type notice struct{ secret, reason, note string }

// Key tells notices apart.
func (n notice) Key() string { return fmt.Sprintf("%s %s: %s", n.secret, n.reason, n.note) }

// tell records an Event of the RegistryCache, unless the request is a dry run, which must leave no trace.
func (h *bootstrapData) tell(in injection, reason, action, note string) {
	if ptr.Deref(in.req.DryRun, false) {
		return
	}
	n := notice{secret: in.req.Namespace + "/" + in.req.Name, reason: reason, note: note}
	if _, told := h.told.Has(n.Key()); told {
		return
	}
	h.told.Add(n)
	h.recorder.Eventf(in.rc, in.reference(), corev1.EventTypeWarning, reason, action, "bootstrap data Secret %s %s", in.req.Name, note)
}

// reference names the Secret, which may not exist yet.
func (in injection) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: in.req.Namespace, Name: in.req.Name}
}
