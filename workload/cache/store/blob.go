package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// touchInterval is how exactly the times of access and of checks are kept on disk.
const touchInterval = time.Second

// Blob is a blob that is read, from the file at its beginning. While it is open it is neither evicted, nor does it expire.
type Blob struct {
	*os.File
	Size int64 // in bytes

	release func()
}

// Close ends the use of the blob. It may be called more than once.
func (b *Blob) Close() error {
	b.release()
	return b.File.Close()
}

// Open returns a blob, and marks it as used. If this process did not write its file, or if the file has changed, it is
// hashed first; all who ask meanwhile wait for the one hashing, each as long as its ctx allows. The error is
// fs.ErrNotExist if the blob is not held, or no longer because its file turned out to be wrong.
func (s *Store) Open(ctx context.Context, d digest.Digest) (*Blob, error) {
	e := s.hold(d)
	if e == nil {
		return nil, notHeld(d)
	}
	file, size, err := s.openVerified(ctx, e)
	if err != nil {
		s.release(e)
		return nil, err
	}
	s.touch(e)
	return &Blob{File: file, Size: size, release: sync.OnceFunc(func() {
		s.release(e)
		s.touch(e)
	})}, nil
}

func notHeld(d digest.Digest) error { return fmt.Errorf("blob %s: %w", d, fs.ErrNotExist) }

func (s *Store) hold(d digest.Digest) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.index.entries[d]
	if !ok {
		return nil
	}
	s.index.open(e)
	return e
}

func (s *Store) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.close(e)
}

// touch writes when a blob was last used to its file.
func (s *Store) touch(e *entry) {
	s.mu.Lock()
	accessed := e.accessed
	due := e.held && accessed.Sub(e.touched) >= touchInterval
	if due {
		e.touched = accessed
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if err := setTimes(s.dataPath(e.digest), timespec(accessed), omit); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logrus.WithError(err).WithField("digest", e.digest).Debug("the time of access was not written")
	}
}

// openVerified opens the file of e when its content is known to be right.
func (s *Store) openVerified(ctx context.Context, e *entry) (*os.File, int64, error) {
	for range attempts {
		file, id, err := openRegular(s.dataPath(e.digest))
		if err != nil && !isWrong(err) {
			return nil, 0, fmt.Errorf("opening blob %s: %w", e.digest, err)
		}
		h, held := s.verification(e, id)
		if held && h == nil {
			return file, id.size, nil
		}
		if file != nil {
			_ = file.Close()
		}
		if !held {
			return nil, 0, notHeld(e.digest)
		}
		select {
		case <-h.done:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		if h.err != nil {
			return nil, 0, h.err
		}
	}
	return nil, 0, fmt.Errorf("opening blob %s: its file is being changed", e.digest)
}

var errIrregular = errors.New("it is not a regular file")

// openRegular opens a file without following a link to another place.
func openRegular(name string) (*os.File, identity, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, identity{}, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		_ = file.Close()
		return nil, identity{}, err
	}
	return file, identityOf(info), nil
}

// isWrong tells errors that say that the file of a blob is not there, or not one, from those of a process that has too many
// files open.
func isWrong(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.ENXIO)
}
