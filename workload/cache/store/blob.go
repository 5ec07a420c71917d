package store

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// touchInterval is how often the time of access of a blob is written to disk, at most. In memory it is exact.
const touchInterval = time.Second

// Blob is a stored blob that is read. While it is open it is neither evicted nor does it expire.
type Blob struct {
	*os.File
	Size    int64
	release func()
}

// Close ends the use of the blob.
func (b *Blob) Close() error {
	b.release()
	return b.File.Close()
}

// Open returns a blob, and marks it as used. The error is fs.ErrNotExist if it is not held, also because its file turned out
// to be something else.
func (s *Store) Open(ctx context.Context, d digest.Digest) (*Blob, error) {
	if !s.hold(d) {
		return nil, fmt.Errorf("%s: %w", d, fs.ErrNotExist)
	}
	release := sync.OnceFunc(func() { s.release(d) })
	file, err := os.Open(s.path(dataPath(d)))
	if err != nil {
		release()
		s.remove(d, metrics.EvictedCorrupt)
		return nil, fmt.Errorf("%s: %w: %w", d, fs.ErrNotExist, err)
	}
	info, err := s.verify(ctx, d, file)
	if err != nil {
		release()
		_ = file.Close()
		return nil, err
	}
	s.touch(d)
	return &Blob{File: file, Size: info.Size(), release: release}, nil
}

func (s *Store) hold(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	if ok {
		e.open++
	}
	return ok
}

func (s *Store) release(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[d]; ok && e.open > 0 {
		e.open--
	}
}

// verify hashes the file unless that was done since it last changed. All who ask at the same moment wait for one hashing.
func (s *Store) verify(ctx context.Context, d digest.Digest, file *os.File) (fs.FileInfo, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if s.isVerified(d, identityOf(info)) {
		return info, nil
	}
	result := s.hashing.DoChan(d.String(), func() (any, error) { return nil, s.hash(d) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		return info, r.Err
	}
}

func (s *Store) isVerified(d digest.Digest, i identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	return ok && e.verified == i
}

// hash checks the content of a blob, and removes one that is wrong.
func (s *Store) hash(d digest.Digest) error {
	file, err := os.Open(s.path(dataPath(d)))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", d, fs.ErrNotExist, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	verifier := d.Verifier()
	if _, err := io.Copy(verifier, file); err != nil || !verifier.Verified() {
		logrus.WithError(err).WithField("digest", d).Warn("a stored blob is not what its digest says, and was removed")
		s.remove(d, metrics.EvictedCorrupt)
		return fmt.Errorf("%s: %w", d, fs.ErrNotExist)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[d]; ok {
		s.used += info.Size() - e.size
		e.verified, e.size = identityOf(info), info.Size()
	}
	return nil
}

// touch makes a blob the one used last, on disk too.
func (s *Store) touch(d digest.Digest) {
	now := time.Now()
	s.mu.Lock()
	e, ok := s.entries[d]
	due := ok && now.Sub(e.touched) >= touchInterval
	if ok {
		e.accessed = now
	}
	if due {
		e.touched = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	times := []unix.Timespec{unix.NsecToTimespec(now.UnixNano()), {Nsec: unix.UTIME_OMIT}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, s.path(dataPath(d)), times, 0); err != nil {
		logrus.WithError(err).WithField("digest", d).Debug("the time of access could not be written")
	}
}
