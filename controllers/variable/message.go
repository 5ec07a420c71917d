package variable

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
)

const (
	// told is how many errors a message holds; those that are left out are counted.
	told = 4
	// longest is how much they say, in bytes: a value that is quoted may be as long as a Cluster can be, and a condition holds 32768.
	longest = 4096
)

// Message puts what is wrong with a value into one line, the same as long as it is wrong in the same way.
func Message(errs field.ErrorList) string {
	lines := make([]string, 0, len(errs))
	for _, err := range errs {
		lines = append(lines, StrikeOut(err.Error()))
	}
	return join(lines)
}

// Rejection is Message for what the API server has against a RegistryCache that was made from the variable: fields are named where
// the user wrote them. It says nothing that is different at every try.
func Rejection(err error) string {
	var causes []string
	for _, cause := range answer.Causes(err) {
		name := cause.Field
		if rest, ok := strings.CutPrefix(name, "spec"); ok {
			name = path().String() + rest
		}
		causes = append(causes, StrikeOut(strings.TrimSpace(name+": "+cause.Message)))
	}
	if len(causes) == 0 {
		return fmt.Sprintf("the API server does not accept the RegistryCache: %s, see the Events", apierrors.ReasonForError(err))
	}
	return join(causes)
}

// join sorts the lines, as validation has no order. What is said of the value as a whole comes last.
func join(lines []string) string {
	slices.SortFunc(lines, func(a, b string) int {
		return cmp.Or(cmp.Compare(ofTheWhole(a), ofTheWhole(b)), cmp.Compare(a, b))
	})
	more := ""
	if len(lines) > told {
		more = fmt.Sprintf("; and %d more", len(lines)-told)
		lines = lines[:told]
	}
	return cut(strings.Join(lines, "; "), longest-len(more)) + more
}

// cut returns as much of a message as there is room for, in bytes, and shows that there was more.
func cut(message string, room int) string {
	const rest = " …"
	if len(message) <= room {
		return message
	}
	return strings.ToValidUTF8(message[:room-len(rest)], "") + rest
}

// ofTheWhole is 1 for a line that names no field.
func ofTheWhole(line string) int {
	if strings.HasPrefix(line, "<nil>: ") || strings.HasPrefix(line, path().String()+": ") {
		return 1
	}
	return 0
}

// userInfo is what may stand between the scheme of a URL and its host.
var userInfo = regexp.MustCompile(`://\S*@`)

// StrikeOut replaces user info of URLs: errors quote the value that is refused (I7).
func StrikeOut(message string) string { return userInfo.ReplaceAllString(message, "://***@") }

// acceptedAt names the fields that there are beside an unknown one, such as caches[0].volume.sise.
func (s *Schema) acceptedAt(unknown string) string {
	at := s.structural
	segments := strings.Split(unknown, ".")
	for _, segment := range segments[:len(segments)-1] {
		name, _, indexed := strings.Cut(segment, "[")
		property, ok := at.Properties[name]
		if !ok {
			return "there is no such field"
		}
		if at = &property; indexed && property.Items != nil {
			at = property.Items
		}
	}
	return "there is no such field; accepted are " + strings.Join(slices.Sorted(maps.Keys(at.Properties)), ", ")
}
