package store

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

const (
	// refusalMemory is how long a blob that could not be stored counts: pulls that meet a full volume come in bursts.
	refusalMemory = 10 * time.Minute
	// leastRoom is what a volume must be able to take that is not full, in bytes.
	leastRoom = 1 << 20
)

// Room is what the volume has left.
type Room struct {
	// Capacity, Used and Free are bytes: what the store may use before its high watermark, what it holds, and what the file system
	// has left for this process.
	Capacity, Used, Free int64
	// Full: there is no room for what is pulled, also after eviction, now or within the last minutes.
	Full bool
	// Failing: the file system refused writes for another reason within the last minutes.
	Failing bool
}

// refusals are the last times at which something was not stored.
type refusals struct{ full, failing time.Time }

// Room looks at the volume.
func (s *Store) Room() Room {
	free := s.free()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Room{
		Capacity: s.capacity,
		Used:     s.index.bytes,
		Free:     free,
		Full:     free+s.index.idleBytes < leastRoom || recent(s.refused.full),
		Failing:  recent(s.refused.failing),
	}
}

func recent(at time.Time) bool { return !at.IsZero() && time.Since(at) < refusalMemory }

// noRoom is what the file system answers when it is full.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// refuse remembers that the file system did not take something; other errors, as of a writer that was given up, say nothing.
func (s *Store) refuse(err error) {
	var answer unix.Errno
	s.mu.Lock()
	switch {
	case noRoom(err):
		s.refused.full = time.Now()
	case errors.As(err, &answer):
		s.refused.failing = time.Now()
	}
	s.mu.Unlock()
	s.measureRoom()
}

// measureRoom keeps the metrics.
func (s *Store) measureRoom() {
	room := s.Room()
	metrics.FreeBytes.Set(float64(room.Free))
	full := 0.0
	if room.Full {
		full = 1
	}
	metrics.VolumeFull.Set(full)
}
