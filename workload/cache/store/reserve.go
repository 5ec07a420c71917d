package store

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

const (
	// attempts at what others may undo at the same moment.
	attempts = 3
	// linkRoom is what a few directories and a link may take on a disk, in bytes.
	linkRoom = 64 << 10
)

// measure sets the capacity.
func (s *Store) measure() error {
	var volume unix.Statfs_t
	if err := unix.Statfs(s.options.Root, &volume); err != nil {
		return fmt.Errorf("measuring the volume of %s: %w", s.options.Root, err)
	}
	capacity := int64(volume.Blocks) * volume.Frsize
	if s.options.MaxSize > 0 && (s.options.MaxSize < capacity || capacity == 0) {
		capacity = s.options.MaxSize
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = capacity
	metrics.CapacityBytes.Set(float64(capacity))
	return nil
}

// free is how many bytes the file system has left for this process.
func (s *Store) free() int64 {
	var volume unix.Statfs_t
	if unix.Statfs(s.options.Root, &volume) != nil {
		return math.MaxInt64 / 2 // writing will tell
	}
	return int64(volume.Bavail) * volume.Frsize
}

// watermark must be called with mu held.
func (s *Store) watermark(percent int) int64 {
	return s.capacity/100*int64(percent) + s.capacity%100*int64(percent)/100
}

// reserve takes size bytes, and evicts for them if it must, no more than is needed: Run goes on from there. If that
// cannot suffice, nothing is evicted and the error is ErrNotStored.
func (s *Store) reserve(size int64) error {
	if s.take(size, s.free()) <= 0 {
		return nil
	}
	s.evicting.Lock()
	defer s.evicting.Unlock()
	free := s.free()
	for range attempts {
		missing := s.take(size, free)
		if missing <= 0 {
			return nil
		}
		if !s.evict(missing) {
			break
		}
		free += missing // the file system may need a moment to say so
		s.wakeUp()
	}
	s.refuse(unix.ENOSPC)
	return fmt.Errorf("%w: there is no room for %d bytes", ErrNotStored, size)
}

// take reserves size bytes, or returns how many are missing.
func (s *Store) take(size, free int64) (missing int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	high := s.watermark(s.options.HighWatermark)
	if size > high {
		return math.MaxInt64
	}
	missing = max(s.index.bytes+s.reserved+size-high, s.reserved-s.written+size-free)
	if size == 0 || missing <= 0 {
		s.reserved += size
		return 0
	}
	return missing
}

// wakeUp makes Run evict down to the low watermark.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// withRoom does what may need room on the disk. If there is none it evicts for size bytes, once, and does it again. Its
// errors wrap ErrNotStored.
func (s *Store) withRoom(size int64, do func() error) error {
	err := do()
	// Eviction does not help against EFBIG and EIO.
	if noRoom(err) && s.evict(size) {
		err = do()
	}
	if err == nil || errors.Is(err, ErrNotStored) {
		return err
	}
	s.refuse(err)
	return fmt.Errorf("%w: %w", ErrNotStored, err)
}
