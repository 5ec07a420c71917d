package registrycacheset

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/answer"
)

const (
	// retryAfter is how soon the API server is asked again what it refused, as quotas and admission may have changed.
	retryAfter = 10 * time.Minute
	// longestMessage bounds what a webhook or a rule may say, in bytes, so that ten of them fit into a condition.
	longestMessage = 1000
)

// try is what was sent: the template of a set, onto a RegistryCache as it was.
type try struct {
	key                        client.ObjectKey
	set, cache                 types.UID
	setGeneration, cacheChange int64
}

func attempt(s *scope, c *claim) try {
	t := try{key: client.ObjectKeyFromObject(c.cluster), set: s.set.UID, setGeneration: s.set.Generation}
	if c.cache != nil {
		t.cache, t.cacheChange = c.cache.UID, c.cache.Generation
	}
	return t
}

// refusals remembers what the API server refused, so that it is not sent again and again.
type refusals struct {
	mu    sync.Mutex
	known map[client.ObjectKey]refusal
}

type refusal struct {
	try
	message string
	at      time.Time
}

func newRefusals() *refusals { return &refusals{known: map[client.ObjectKey]refusal{}} }

// remembered returns the answer to the same try, if it was made not long ago, and how long it holds from now on.
func (r *refusals) remembered(t try, now time.Time) (message string, holds time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[t.key]
	if !ok || known.try != t {
		return "", 0
	}
	return known.message, max(known.at.Add(retryAfter).Sub(now), 0)
}

// remember notes an answer, and says whether it is a new one.
func (r *refusals) remember(t try, message string, now time.Time) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[t.key]
	r.known[t.key] = refusal{t, message, now}
	return known.try != t || known.message != message
}

func (r *refusals) forget(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, key)
}

// forgetSet drops what is remembered of a set.
func (r *refusals) forgetSet(set types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.known, func(_ client.ObjectKey, known refusal) bool { return known.set == set })
}

// refusalMessage is the API server's own answer: for a spec that is not valid every field with what is accepted, else what it says.
func refusalMessage(err error) string {
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		message = status.Status().Message // without the words that say what was tried
	}
	var causes []string
	for _, cause := range answer.Causes(err) {
		causes = append(causes, strings.TrimSpace(cause.Field+": "+cause.Message))
	}
	if len(causes) > 0 {
		message = strings.Join(causes, "; ")
	}
	return cut(message, longestMessage)
}
