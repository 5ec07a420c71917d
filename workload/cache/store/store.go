package store

import (
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Store keeps blobs, manifests and tags below one directory. Its methods may be called by any number of goroutines. One
// process at a time may have the directory open.
type Store struct {
	options Options
	wake    chan struct{} // a reservation had to evict: go on, down to the low watermark

	evicting sync.Mutex // serialises reservations that need eviction; taken before layout
	layout   sync.Mutex // serialises what is moved into and out of its place on disk; taken before mu

	mu       sync.Mutex
	index    index
	capacity int64
	reserved int64 // by writers
	written  int64 // of that, on disk
	refused  refusals
}

// Open reads the store in options.Root and removes what interrupted transfers left, those of a stock registry too.
// Files that are broken or not the store's are logged and passed over. It fails if an option is out of its range, or
// if the directory can neither be read nor created.
func Open(options Options) (*Store, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(options.Root, dirMode); err != nil {
		return nil, fmt.Errorf("creating the store: %w", err)
	}
	s := &Store{options: options, wake: make(chan struct{}, 1), index: newIndex()}
	if err := s.measure(); err != nil {
		return nil, err
	}
	if err := s.scan(); err != nil {
		return nil, err
	}
	return s, nil
}

// Used is how many bytes of blobs and manifests are held.
func (s *Store) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.bytes
}

// Capacity is how many bytes the store may use, before the high watermark. It follows the size of the volume.
func (s *Store) Capacity() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity
}

// Stat tells the size of a blob in bytes, and whether it is held, without looking at the disk.
func (s *Store) Stat(d digest.Digest) (size int64, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.index.entries[d]
	if !ok {
		return 0, false
	}
	return e.size, true
}
