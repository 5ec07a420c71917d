package store

import (
	"fmt"
	"time"
)

// Upkeep is what Run does every minute.
func (s *Store) Upkeep(now time.Time, keepExpired bool) {
	s.upkeep(now, func() bool { return keepExpired })
}

// Taken is what is held and reserved, in bytes.
func (s *Store) Taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.bytes + s.reserved
}

// Inconsistency is what is wrong with the books while nothing is open and nothing is written.
func (s *Store) Inconsistency() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum int64
	for d, e := range s.index.entries {
		sum += e.size
		if e.opened != 0 || e.element == nil || !e.held || e.hashing != nil || e.digest != d {
			return fmt.Errorf("%s: %+v", d, e)
		}
		for key := range e.tags {
			if s.index.tags[key].current != d {
				return fmt.Errorf("%s: is not the current one of %v", d, key)
			}
		}
	}
	if sum != s.index.bytes || sum != s.index.idleBytes || s.index.idle.Len() != len(s.index.entries) || s.reserved != 0 || s.written != 0 {
		return fmt.Errorf("%d bytes in %d blobs; counted are %d, idle %d in %d, reserved %d, written %d", sum, len(s.index.entries),
			s.index.bytes, s.index.idleBytes, s.index.idle.Len(), s.reserved, s.written)
	}
	for key, t := range s.index.tags {
		for d := range t.index {
			if !s.index.linked(d, link{tagIndexLink, key.repository, key.tag}) {
				return fmt.Errorf("%v: %s is not linked", key, d)
			}
		}
	}
	return nil
}
