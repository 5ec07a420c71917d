package upstream

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// rereadInterval is how often files and credential sources are asked at most.
const rereadInterval = time.Second

// ticket is there once in an interval, for one of those who ask.
type ticket struct{ next atomic.Int64 }

func (t *ticket) taken(interval time.Duration) bool {
	now, next := time.Now(), t.next.Load()
	return now.UnixNano() >= next && t.next.CompareAndSwap(next, now.Add(interval).UnixNano())
}

// complaint logs and counts what cannot be read, once for each change.
type complaint struct {
	mu   sync.Mutex
	last string
}

// text is what was last complained of, "" if it could be read since.
func (c *complaint) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *complaint) about(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = ""
		return
	}
	if err.Error() == c.last {
		return
	}
	c.last = err.Error()
	var file *fileError
	if errors.As(err, &file) {
		metrics.FileErrors.WithLabelValues(file.label).Inc()
	}
	logrus.WithError(err).Errorf("the %s of the upstream cannot be read; the last good ones stay", what)
}
