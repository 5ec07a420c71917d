package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// Writer stores one blob.
type Writer struct {
	store    *Store
	digest   digest.Digest
	verifier digest.Verifier
	file     *os.File
	reserved int64
	written  int64
	ended    bool
}

// Create begins to store a blob of size bytes, -1 if that is not known. It makes room for it, and fails with ErrNotStored if
// there is none.
func (s *Store) Create(d digest.Digest, size int64) (*Writer, error) {
	if err := checkDigest(d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	reserve := max(size, 0)
	if err := s.reserve(reserve); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(s.path(uploadsDir), d.Encoded()[:12]+"-")
	if err != nil {
		s.unreserve(reserve)
		return nil, fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return &Writer{store: s, digest: d, verifier: d.Verifier(), file: file, reserved: reserve}, nil
}

// Write stores p. What it accepted can be read at once. If the file system refuses, room is made once; after that the error is
// ErrNotStored, and n tells how much was accepted.
func (w *Writer) Write(p []byte) (n int, err error) {
	n, err = w.file.Write(p)
	if err != nil && isFull(err) && w.store.evictFor(int64(len(p)-n)) {
		var more int
		more, err = w.file.Write(p[n:])
		n += more
	}
	w.written += int64(n)
	_, _ = w.verifier.Write(p[:n])
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return n, nil
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// Reader opens what is written so far. It stays valid whatever becomes of the Writer.
func (w *Writer) Reader() (*os.File, error) { return os.Open(w.file.Name()) }

// Commit makes the blob part of the store. The error is ErrDigest if it is not what its digest says, and ErrNotStored if it
// cannot be kept.
func (w *Writer) Commit() error {
	if !w.verifier.Verified() {
		w.Cancel()
		return fmt.Errorf("%s: %w", w.digest, ErrDigest)
	}
	if err := w.commit(); err != nil {
		w.Cancel()
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return nil
}

func (w *Writer) commit() error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if err := os.Chmod(w.file.Name(), 0o644); err != nil {
		return err
	}
	target := w.store.path(dataPath(w.digest))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), target); err != nil {
		return err
	}
	w.ended = true
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= w.reserved
	s.add(w.digest, &entry{size: w.written, stored: info.ModTime(), accessed: info.ModTime(), verified: identityOf(info)})
	s.publish()
	return w.file.Close()
}

// Cancel gives up. It does nothing after Commit.
func (w *Writer) Cancel() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
	w.store.unreserve(w.reserved)
}

// Put stores a blob that is in memory.
func (s *Store) Put(d digest.Digest, content []byte) error {
	w, err := s.Create(d, int64(len(content)))
	if err != nil {
		return err
	}
	defer w.Cancel()
	if _, err := w.Write(content); err != nil {
		return err
	}
	return w.Commit()
}
