package store

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// interval is how often the limits are looked after.
const interval = time.Minute

// Run evicts what is above the high watermark and removes what has expired, every minute, until ctx ends. keepExpired holds
// expiry back: while the upstream cannot be reached, an old blob is better than none. At its end it writes
// scheduler-state.json.
func (s *Store) Run(ctx context.Context, keepExpired func() bool) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		s.shrink()
		if !keepExpired() {
			s.expire(time.Now())
		}
		s.writeState()
		select {
		case <-ctx.Done():
			s.writeState()
			return
		case <-ticker.C:
		}
	}
}

// shrink brings the store from above the high watermark down to the low one. What others wrote to the volume counts: the
// share above the high watermark is to stay free.
func (s *Store) shrink() {
	over := s.Used() - s.watermark(s.options.HighWatermark)
	if s.options.MaxSize == 0 {
		over = max(over, s.capacity-s.watermark(s.options.HighWatermark)-s.free())
	}
	if over > 0 {
		s.evict(over + s.slack())
	}
}

// slack is what is evicted more than needed, so that not each blob needs an eviction.
func (s *Store) slack() int64 {
	return s.watermark(s.options.HighWatermark) - s.watermark(s.options.LowWatermark)
}

// reserve makes room for size bytes. If that is not possible, nothing is evicted.
func (s *Store) reserve(size int64) error {
	high := s.watermark(s.options.HighWatermark)
	s.mu.Lock()
	over := s.used + s.reserved + size - high
	s.reserved += size // seen by those who reserve at the same time
	s.mu.Unlock()
	over = max(over, size-s.free())
	if over <= 0 {
		return nil
	}
	if size <= high && s.evictable() >= over && s.evict(over+s.slack()) >= over {
		return nil
	}
	s.unreserve(size)
	return fmt.Errorf("%w: there is no room for %d bytes", ErrNotStored, size)
}

func (s *Store) unreserve(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= size
}

// evictFor makes room after a failed write.
func (s *Store) evictFor(size int64) bool {
	return s.evict(size+s.slack()) >= size
}

// evictable is the size of all blobs that nobody reads.
func (s *Store) evictable() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var size int64
	for _, e := range s.entries {
		if e.open == 0 {
			size += e.size
		}
	}
	return size
}

// evict removes blobs, the one used longest ago first, until size bytes are free, and returns how many are.
func (s *Store) evict(size int64) (freed int64) {
	for _, c := range s.candidates() {
		if freed >= size {
			break
		}
		freed += s.removeIf(c.digest, metrics.EvictedSpace, func(e *entry) bool { return e.open == 0 && e.accessed.Equal(c.accessed) })
	}
	return freed
}

type candidate struct {
	digest   digest.Digest
	accessed time.Time
}

func (s *Store) candidates() []candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	candidates := make([]candidate, 0, len(s.entries))
	for d, e := range s.entries {
		if e.open == 0 {
			candidates = append(candidates, candidate{d, e.accessed})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(a.accessed.Compare(b.accessed), cmp.Compare(a.digest, b.digest))
	})
	return candidates
}

func (s *Store) expire(now time.Time) {
	if s.options.TTL == 0 {
		return
	}
	before := now.Add(-s.options.TTL)
	for _, c := range s.candidates() {
		s.removeIf(c.digest, metrics.EvictedExpired, func(e *entry) bool { return e.open == 0 && e.stored.Before(before) })
	}
}

func (s *Store) remove(d digest.Digest, reason string) {
	s.removeIf(d, reason, func(*entry) bool { return true })
}

// removeIf removes a blob and all that refers to it, and returns its size, 0 if it stays.
func (s *Store) removeIf(d digest.Digest, reason string, condition func(*entry) bool) int64 {
	s.linking.Lock()
	defer s.linking.Unlock()
	s.mu.Lock()
	e, ok := s.entries[d]
	if !ok || !condition(e) {
		s.mu.Unlock()
		return 0
	}
	delete(s.entries, d)
	s.used -= e.size
	s.changed = true
	for dir, l := range e.links {
		if l.kind == tagLink {
			delete(s.tags, dir)
		}
	}
	doomed := s.detach(d)
	s.publish()
	s.mu.Unlock()

	for dir := range e.links {
		s.removeLink(dir)
	}
	if err := os.Remove(doomed); err != nil && !os.IsNotExist(err) {
		logrus.WithError(err).WithField("digest", d).Warn("a blob could not be removed")
	}
	metrics.Evicted.WithLabelValues(reason).Inc()
	metrics.EvictedBytes.WithLabelValues(reason).Add(float64(e.size))
	return e.size
}

// detach moves the file of a blob out of its place, so that its removal, which may take long, needs no lock.
func (s *Store) detach(d digest.Digest) string {
	doomed := filepath.Join(s.path(uploadsDir), d.Encoded()+".removed")
	if err := os.Rename(s.path(dataPath(d)), doomed); err != nil {
		doomed = s.path(dataPath(d))
		_ = os.Remove(doomed)
	}
	_ = os.Remove(s.path(blobDir(d)))
	_ = os.Remove(s.path(path.Dir(blobDir(d))))
	return doomed
}
