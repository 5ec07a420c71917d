package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Writer stores one blob. Write and Commit are for one goroutine; Reader and Cancel may be called by any, at any time.
type Writer struct {
	store    *Store
	digest   digest.Digest
	digester digest.Digester
	file     *os.File

	mu    sync.Mutex // taken before Store.mu
	path  string
	ended bool

	reserved, written int64 // guarded by Store.mu
}

// Create begins to store a blob of size bytes, -1 if that is not known: room is then made as it grows. The error wraps
// ErrNotStored if there is no room, or if d is no digest of sha256 or sha512.
func (s *Store) Create(d digest.Digest, size int64) (*Writer, error) {
	if err := checkDigest(d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	size = max(size, 0)
	if err := s.reserve(size); err != nil {
		return nil, err
	}
	var file *os.File
	err := s.withRoom(linkRoom, func() (err error) {
		file, err = s.createTemporary()
		return err
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= size
		return nil, err
	}
	return &Writer{store: s, digest: d, digester: d.Algorithm().Digester(), file: file, path: file.Name(), reserved: size}, nil
}

// Write stores p; what it accepted, n bytes, can be read through Reader at once. If the disk or a quota is full, it evicts
// once and goes on. An error wraps ErrNotStored.
func (w *Writer) Write(p []byte) (n int, err error) {
	if err := w.grow(int64(len(p))); err != nil {
		return 0, err
	}
	err = w.store.withRoom(w.missing(int64(len(p))), func() error {
		accepted, err := w.file.Write(p[n:])
		n += accepted
		return err
	})
	_, _ = w.digester.Hash().Write(p[:n])
	w.account(int64(n))
	return n, err
}

// grow reserves what is needed for size more bytes.
func (w *Writer) grow(size int64) error {
	s := w.store
	s.mu.Lock()
	size = w.written + size - w.reserved
	s.mu.Unlock()
	if size <= 0 {
		return nil
	}
	if err := s.reserve(size); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.ended {
		s.reserved -= size
		return fmt.Errorf("%w: %w", ErrNotStored, os.ErrClosed)
	}
	w.reserved += size
	return nil
}

// missing is how much is still to be written, size at least.
func (w *Writer) missing(size int64) int64 {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return max(size, w.reserved-w.written)
}

func (w *Writer) account(size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if !w.ended {
		w.written += size
		w.store.written += size
	}
}

// settle gives the reservation back. Store.mu must be held.
func (w *Writer) settle() {
	w.store.reserved -= w.reserved
	w.store.written -= w.written
	w.reserved, w.written = 0, 0
}

// Reader opens what is written so far, at its beginning. The file, which the caller closes, stays valid after Commit and
// Cancel. The error is fs.ErrNotExist after Cancel, and when the blob was removed after Commit.
func (w *Writer) Reader() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return os.Open(w.path)
}

// Commit makes the blob part of the store, where it can be opened at once. The error is ErrDigest if the content is not
// what the digest says, and wraps ErrNotStored if it cannot be kept; what was written is then removed.
func (w *Writer) Commit() error {
	err := w.file.Close()
	switch actual := w.digester.Digest(); {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrNotStored, err)
	case actual != w.digest:
		err = fmt.Errorf("%w: it is %s, not %s", ErrDigest, actual, w.digest)
	default:
		err = w.store.withRoom(linkRoom, w.commit)
	}
	if err != nil {
		w.Cancel()
	}
	return err
}

func (w *Writer) commit() error {
	s := w.store
	s.layout.Lock()
	defer s.layout.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return os.ErrClosed
	}
	now := time.Now()
	_ = setTimes(w.path, timespec(now), timespec(now)) // finer than the kernel's clock; without it, what is there will do
	info, err := os.Lstat(w.path)
	if err != nil {
		return err
	}
	if err := w.moveTo(s.dataPath(w.digest)); err != nil {
		prune(s.blobDir(w.digest), s.path(blobsDir))
		return err
	}
	w.ended = true
	s.mu.Lock()
	defer s.mu.Unlock()
	w.settle()
	s.index.put(w.digest, info.Size(), info.ModTime(), now).verified = identityOf(info)
	return nil
}

func (w *Writer) moveTo(data string) error {
	if err := os.MkdirAll(filepath.Dir(data), dirMode); err != nil {
		return err
	}
	err := os.Rename(w.path, data)
	if err != nil && isDir(data) {
		if err = os.RemoveAll(data); err == nil {
			err = os.Rename(w.path, data)
		}
	}
	if err == nil {
		w.path = data
	}
	return err
}

func isDir(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.IsDir()
}

// Cancel gives up, and removes what was written. It does nothing after Commit and after Cancel.
func (w *Writer) Cancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.ended = true
	_ = w.file.Close()
	_ = os.Remove(w.path)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.settle()
}

// Put stores a blob that is in memory, such as a manifest. Its errors are those of Create, Write and Commit.
func (s *Store) Put(d digest.Digest, content []byte) error {
	w, err := s.Create(d, int64(len(content)))
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		w.Cancel()
		return err
	}
	return w.Commit()
}
