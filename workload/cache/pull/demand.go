package pull

import (
	"sync"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// demand counts what clients ask for. Only manifests count: each pull begins with one, and a transfer of a blob that goes on
// for long says nothing about now. Times are measured from the start of the process, by a clock that is never set.
type demand struct {
	began time.Time

	mu              sync.Mutex
	asked, answered tally
}

// tally is how many there were, and how long after the beginning the last one was.
type tally struct {
	count int64
	last  time.Duration
}

// note counts one in a tally of the demand.
func (d *demand) note(t *tally) {
	at := time.Since(d.began)
	d.mu.Lock()
	defer d.mu.Unlock()
	t.count++
	t.last = max(t.last, at)
}

// Pulls is what clients have asked for since the process began.
func (h *Handler) Pulls() report.Pulls {
	d := &h.demand
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Since(d.began)
	return report.Pulls{RunningSeconds: seconds(now), Asked: d.asked.report(now), Answered: d.answered.report(now)}
}

func (t tally) report(now time.Duration) report.Tally {
	if t.count == 0 {
		return report.Tally{}
	}
	ago := seconds(now - t.last)
	return report.Tally{Count: t.count, SecondsAgo: &ago}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
