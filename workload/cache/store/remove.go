package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// evict removes blobs, least recently used first, until size bytes are free. If those that nobody has open do not
// suffice, it removes none.
func (s *Store) evict(size int64) bool {
	s.mu.Lock()
	possible := s.index.idleBytes
	s.mu.Unlock()
	if possible < size {
		return false
	}
	for size > 0 {
		freed, ok := s.remove(metrics.EvictedSpace, s.index.oldest)
		if !ok {
			return false
		}
		size -= freed
	}
	return true
}

// relieve evicts down to the low watermark if more than limit percent are used.
func (s *Store) relieve(limit int) {
	above := func(percent int) bool { return s.index.bytes+s.reserved > s.watermark(percent) }
	for more := true; more; limit = s.options.LowWatermark {
		_, more = s.remove(metrics.EvictedSpace, func() *entry {
			if !above(limit) {
				return nil
			}
			return s.index.oldest()
		})
	}
}

// expire removes what was stored before.
func (s *Store) expire(before time.Time) {
	var expired []*entry
	s.mu.Lock()
	for _, e := range s.index.entries {
		if e.stored.Before(before) {
			expired = append(expired, e)
		}
	}
	s.mu.Unlock()
	for _, e := range expired {
		s.remove(metrics.EvictedExpired, func() *entry {
			if !e.held || e.opened > 0 || !e.stored.Before(before) {
				return nil
			}
			return e
		})
	}
}

// remove takes the blob that pick chooses, with mu held, out of the store with all that refers to it, and returns its
// size. It does nothing if pick returns nil.
func (s *Store) remove(reason string, pick func() *entry) (size int64, ok bool) {
	e, doomed := s.displace(pick)
	if e == nil {
		return 0, false
	}
	// A large file may take long: no lock is held.
	if err := os.RemoveAll(doomed); err != nil {
		logrus.WithError(err).WithField("digest", e.digest).Warn("the file of a removed blob is left")
	}
	metrics.Evicted.WithLabelValues(reason).Inc()
	metrics.EvictedBytes.WithLabelValues(reason).Add(float64(e.size))
	logrus.WithFields(logrus.Fields{"digest": e.digest, "bytes": e.size, "reason": reason}).Debug("removed a blob")
	return e.size, true
}

// displace forgets a blob, removes what refers to it, and moves its file out of its place, in this order: whatever
// interrupts it, no link is left without its blob.
func (s *Store) displace(pick func() *entry) (*entry, string) {
	s.layout.Lock()
	defer s.layout.Unlock()
	s.mu.Lock()
	e := pick()
	if e == nil {
		s.mu.Unlock()
		return nil, ""
	}
	links, tags := s.index.remove(e)
	s.mu.Unlock()
	for _, l := range links {
		s.removeLink(l.dir(e.digest))
	}
	for _, key := range tags {
		s.removeTag(key)
	}
	return e, s.displaceData(e.digest)
}

// removeLink removes a link with its directory below repositories, and those above it that are empty now.
func (s *Store) removeLink(dir string) {
	name := s.path(repositoriesDir, dir, linkFile)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logrus.WithError(err).Warn("a link to a removed blob is left")
	}
	prune(filepath.Dir(name), s.path(repositoriesDir))
}

func (s *Store) removeTag(key tagKey) {
	dir := s.path(repositoriesDir, key.dir())
	if err := os.RemoveAll(dir); err != nil {
		logrus.WithError(err).Warn("a tag of a removed manifest is left")
	}
	prune(filepath.Dir(dir), s.path(repositoriesDir))
}

// displaceData returns where the file is that is to be removed.
func (s *Store) displaceData(d digest.Digest) string {
	data := s.dataPath(d)
	doomed := s.temporaryPath()
	if err := os.Rename(data, doomed); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			logrus.WithError(err).WithField("digest", d).Debug("a blob is removed in its place")
		}
		_ = os.RemoveAll(data)
	}
	prune(filepath.Dir(data), s.path(blobsDir))
	return doomed
}

// prune removes empty directories, from dir up to stop, which stays.
func prune(dir, stop string) {
	for dir != stop {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		dir = filepath.Dir(dir)
	}
}
