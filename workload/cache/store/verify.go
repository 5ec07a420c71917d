package store

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

var errContent = errors.New("its content is not what its digest says")

// hashing is one reading of a file, for all who wait for it.
type hashing struct {
	done chan struct{}
	err  error // why it could not be read, set before done is closed; nil also if it was wrong: the blob is gone then
}

// verification returns what to wait for before the file with that identity may be served, nil if it may. held is false
// if the blob was removed. The zero identity is never right.
func (s *Store) verification(e *entry, id identity) (h *hashing, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.held {
		return nil, false
	}
	if id != (identity{}) && e.verified == id {
		return nil, true
	}
	if e.hashing == nil {
		e.hashing = &hashing{done: make(chan struct{})}
		s.index.open(e)
		go s.verify(e, e.hashing)
	}
	return e.hashing, true
}

// verify reads the file of e, and removes the blob if it is wrong. A Writer that replaces the file meanwhile is right.
func (s *Store) verify(e *entry, h *hashing) {
	defer close(h.done)
	defer s.release(e)
	id, err := hashFile(s.dataPath(e.digest), e.digest)
	if errors.Is(err, errContent) || isWrong(err) {
		_, removed := s.remove(metrics.EvictedCorrupt, func() *entry {
			if !e.held || e.hashing != h {
				return nil
			}
			return e
		})
		if removed {
			logrus.WithError(err).WithField("digest", e.digest).Warn("a stored blob was wrong, and was removed")
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		h.err = fmt.Errorf("reading blob %s: %w", e.digest, err)
	}
	if e.hashing != h {
		return
	}
	e.hashing = nil
	if err == nil && e.held {
		e.verified = id
		s.index.resize(e, id.size)
		s.index.publish()
	}
}

// hashFile returns the identity of the file, from before it was read.
func hashFile(name string, d digest.Digest) (identity, error) {
	file, id, err := openRegular(name)
	if err != nil {
		return identity{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	verifier := d.Verifier()
	if _, err := io.Copy(verifier, file); err != nil {
		return identity{}, err
	}
	if !verifier.Verified() {
		return identity{}, errContent
	}
	return id, nil
}
