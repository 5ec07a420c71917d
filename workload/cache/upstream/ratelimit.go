package upstream

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

const (
	defaultRetryAfter  = 10 * time.Second
	shortestRetryAfter = time.Second
	longestRetryAfter  = 5 * time.Minute
)

// rateLimit is until when the upstream wants no requests.
type rateLimit struct {
	mu    sync.Mutex
	until time.Time
}

func (r *rateLimit) extend(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until := time.Now().Add(by); until.After(r.until) {
		r.until = until
		metrics.RateLimitedUntil.Set(float64(until.Unix()))
	}
}

func (r *rateLimit) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := time.Until(r.until)
	if rest <= 0 {
		return nil
	}
	return &Error{Kind: RateLimited, RetryAfter: rest, Err: errors.New("not asked since it answered 429")}
}

// retryAfter reads a Retry-After header, https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3: seconds or a date.
// The result is between 1 s and 5 min; 10 s without a usable value.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	wait := defaultRetryAfter
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		wait = longestRetryAfter
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, shortestRetryAfter), longestRetryAfter)
}
