package registrycacheset

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// longestNote is what an Event may hold, in bytes.
const longestNote = 1024

// event tells what happened to a set, about a RegistryCache or Cluster if there is one, or nil: Events that are alike but for their note
// would be counted as one. The action is what the controller was doing.
func (r *Reconciler) event(s *scope, related runtime.Object, kind, reason, action, note string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(note, args...), "\n", " ")
	r.Recorder.Eventf(s.set, related, kind, reason, action, "%s", cut(text, longestNote))
}

// cut returns as much of a text as there is room for, in bytes, and shows that there was more.
func cut(text string, longest int) string {
	const more = " …"
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest-len(more)], "") + more
}

// tellOverruled tells, once, that the set does not get Clusters that it matches: when what the condition says of it has changed.
func (r *Reconciler) tellOverruled(s *scope, before string) {
	overruled := verdicts(s.claims, addonsv1.OverruledReason)
	if s.deleting() || len(overruled) == 0 || appliedMessage(s.set) == before {
		return
	}
	r.event(s, nil, corev1.EventTypeWarning, addonsv1.OverruledReason, "Apply", "%d Clusters are not this set's, such as Cluster %s: %s",
		len(overruled), overruled[0].cluster, overruled[0].why)
}
