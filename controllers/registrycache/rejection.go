package registrycache

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// objectError is a failure of one object.
type objectError struct {
	object string
	err    error
}

func (e *objectError) Error() string { return fmt.Sprintf("applying %s: %v", e.object, e.err) }
func (e *objectError) Unwrap() error { return e.err }

// record turns the outcome of one cache into a fact: what was rejected is the user's to mend and is not tried
// again by itself, anything else is.
func (r *Reconciler) record(s *scope, cache addonsv1.Cache, fact *cacheFact, err error) {
	if err == nil {
		return
	}
	if !rejected(err) {
		fact.err = fmt.Errorf("cache of %s: %w", cache.Upstream, err)
		return
	}
	fact.rejected = rejection(err)
	r.event(s, corev1.EventTypeWarning, addonsv1.ApplyFailedReason, "Apply", "The cache of %s was rejected by the workload cluster: %v", cache.Upstream, err)
}

// rejected says whether the same request would be answered in the same way again.
func rejected(err error) bool {
	return errors.Is(err, apply.ErrForeign) || answer.Final(err)
}

// rejection says what was rejected and why, in words that stay the same as long as the cause does. Messages of
// quotas and admission may hold counts and times; they are told in the Event only.
func rejection(err error) string {
	object := "object"
	var failed *objectError
	if errors.As(err, &failed) {
		object = failed.object
	}
	causes := answer.Causes(err)
	switch {
	case errors.Is(err, apply.ErrForeign):
		return fmt.Sprintf("%s: %v", object, apply.ErrForeign)
	case len(causes) > 0:
		var lines []string
		for _, cause := range causes {
			lines = append(lines, strings.TrimSpace(cause.Field+" "+cause.Message))
		}
		return fmt.Sprintf("%s: %s", object, strings.Join(lines, "; "))
	default:
		return fmt.Sprintf("%s: %s, see the Events", object, apierrors.ReasonForError(err))
	}
}

// addressTaken says whether the API server refused the address of a Service because it is allocated. There is no
// other mark of it than the message (https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/registry/core/service/ipallocator/interfaces.go).
func addressTaken(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "provided IP is already allocated")
}

// addressRefused says whether the API server refused the address of a Service for another reason: it is in none of its ranges, or of an IP
// family that it does not have, which it says of spec.ipFamilies
// (https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/registry/core/service/storage/alloc.go).
func addressRefused(err error) bool {
	return !addressTaken(err) && slices.ContainsFunc(answer.Causes(err), func(cause metav1.StatusCause) bool {
		return strings.HasPrefix(cause.Field, "spec.clusterIP") || strings.HasPrefix(cause.Field, "spec.ipFamilies")
	})
}
