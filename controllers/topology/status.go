package topology

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// longestNote is what an Event may hold, in bytes.
const longestNote = 1024

// setStatus tells what became of the variable: in the condition, if there is a RegistryCache that stays, and in an Event. It says nothing
// before the manager knows what there is.
func (r *Reconciler) setStatus(ctx context.Context, s *scope) error {
	if s.outdated {
		return nil
	}
	r.tellRefusal(s)
	if s.cache == nil || s.created {
		return nil
	}
	helper, err := patch.NewHelper(s.cache, r.Client)
	if err != nil {
		return err
	}
	if condition := applied(s); condition != nil {
		conditions.Set(s.cache, *condition)
	} else {
		conditions.Delete(s.cache, addonsv1.VariableAppliedCondition)
	}
	err = helper.Patch(ctx, s.cache, patch.WithOwnedConditions{Conditions: []string{addonsv1.VariableAppliedCondition}})
	if err != nil {
		return fmt.Errorf("patching the condition of the RegistryCache: %w", err)
	}
	return nil
}

// applied is the condition, nil if there is nothing to say.
func applied(s *scope) *metav1.Condition {
	switch {
	case !s.asked:
		return nil
	case s.refusal != nil:
		return &metav1.Condition{
			Type: addonsv1.VariableAppliedCondition, Status: metav1.ConditionFalse, Reason: s.refusal.reason, Message: s.refusal.message,
		}
	default:
		return &metav1.Condition{Type: addonsv1.VariableAppliedCondition, Status: metav1.ConditionTrue, Reason: addonsv1.VariableAppliedReason}
	}
}

// tellRefusal writes an Event about a refusal when it is another than before.
func (r *Reconciler) tellRefusal(s *scope) {
	key := client.ObjectKeyFromObject(s.cluster)
	if s.refusal == nil {
		r.told.forget(key)
		return
	}
	if !r.told.isNew(key, s.refusal.reason+" "+s.refusal.message) || saysSo(s) {
		return
	}
	note := s.refusal.message
	if s.refusal.detail != "" {
		note = s.refusal.detail
	}
	r.event(s, corev1.EventTypeWarning, "Variable"+s.refusal.reason, "%s", note)
}

// saysSo tells whether the condition says the same already: another manager wrote the Event then.
func saysSo(s *scope) bool {
	if s.cache == nil {
		return false
	}
	was := conditions.Get(s.cache, addonsv1.VariableAppliedCondition)
	return was != nil && was.Reason == s.refusal.reason && was.Message == s.refusal.message
}

// event tells what happened to the variable of a Cluster. Newlines and more than an Event takes are left out.
func (r *Reconciler) event(s *scope, kind, reason, note string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(note, args...), "\n", " ")
	if len(text) > longestNote {
		text = text[:longestNote-len("...")]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += "..."
	}
	if s.cache != nil {
		r.Recorder.Eventf(s.cluster, s.cache, kind, reason, "ApplyVariable", "%s", text)
		return
	}
	r.Recorder.Eventf(s.cluster, nil, kind, reason, "ApplyVariable", "%s", text)
}

// told remembers the refusals that were told, so that a resync is silent (I6). It may be used by many goroutines.
type told struct {
	mu       sync.Mutex
	refusals map[client.ObjectKey]string
}

func newTold() *told { return &told{refusals: map[client.ObjectKey]string{}} }

// isNew remembers a refusal and says whether it is another than the last.
func (t *told) isNew(cluster client.ObjectKey, refusal string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.refusals[cluster]
	t.refusals[cluster] = refusal
	return was != refusal
}

func (t *told) forget(cluster client.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.refusals, cluster)
}
