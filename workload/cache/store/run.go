package store

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

// upkeepInterval is how often limits are checked and scheduler-state.json is written.
const upkeepInterval = time.Minute

// Run keeps the store within its limits until ctx ends: every minute, and when a blob needed room, it evicts what is above
// the high watermark down to the low one; every minute it removes what is older than the TTL, unless keepExpired says that
// the upstream cannot be reached. Blobs that are open stay. It begins with eviction; nothing expires in the first minute, in
// which it may not be known yet that the upstream cannot be reached. At its end it writes scheduler-state.json.
func (s *Store) Run(ctx context.Context, keepExpired func() bool) {
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	s.relieve(s.options.HighWatermark)
	s.measureRoom()
	for {
		select {
		case <-ctx.Done():
			s.flush()
			s.writeState()
			return
		case <-s.wake:
			s.relieve(s.options.LowWatermark)
		case now := <-ticker.C:
			s.upkeep(now, keepExpired)
		}
	}
}

func (s *Store) upkeep(now time.Time, keepExpired func() bool) {
	if err := s.measure(); err != nil {
		logrus.WithError(err).Warn("the capacity of the store stays as it was")
	}
	s.relieve(s.options.HighWatermark)
	s.measureRoom()
	if s.options.TTL > 0 && !keepExpired() {
		s.expire(now.Add(-s.options.TTL))
	}
	s.flush()
	s.writeState()
}

// flush writes the times of access that touch has left out.
func (s *Store) flush() {
	var behind []*entry
	s.mu.Lock()
	for _, e := range s.index.entries {
		if e.accessed.After(e.touched) {
			e.touched = time.Time{}
			behind = append(behind, e)
		}
	}
	s.mu.Unlock()
	for _, e := range behind {
		s.touch(e)
	}
}
