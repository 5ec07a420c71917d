package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

var (
	// ErrNotStored says that content can be served but not kept: there is no room, or a write failed.
	ErrNotStored = errors.New("not stored")
	// ErrDigest says that content is not what its digest says.
	ErrDigest = errors.New("the content does not match its digest")
)

// Options say where and how much is stored.
type Options struct {
	// Root is the directory of the store (storage.filesystem.rootdirectory).
	Root string
	// MaxSize is how many bytes may be used; 0 is the size of the volume that Root is on.
	MaxSize int64
	// HighWatermark and LowWatermark are percent of that: above the high one blobs are evicted down to the low one.
	HighWatermark, LowWatermark int
	// TTL is the life of a blob since it was stored; 0: it does not expire.
	TTL time.Duration
}

// Store keeps blobs. It may be used by any number of goroutines, and by one process at a time.
type Store struct {
	options  Options
	capacity int64
	hashing  singleflight.Group
	linking  sync.Mutex // held while links are written or removed; taken before mu

	mu       sync.Mutex
	entries  map[digest.Digest]*entry
	tags     map[string]tagEntry // by the directory of the tag
	used     int64               // of entries
	reserved int64               // of writers
	changed  bool                // since scheduler-state.json was written
}

// entry is a blob in the index.
type entry struct {
	size     int64
	stored   time.Time // modification time of the file
	accessed time.Time
	touched  time.Time // when accessed was written to the file, as its access time
	open     int
	verified identity // of the file whose content is known to match; zero: none
	links    map[string]link
}

// link is why a directory under repositories refers to a blob.
type link struct {
	kind       linkKind
	repository string
}

type linkKind int

const (
	layerLink linkKind = iota
	revisionLink
	tagLink      // the whole tag, whose current digest it is
	tagIndexLink // a digest that a tag had
)

type tagEntry struct {
	digest  digest.Digest
	checked time.Time
}

// identity changes when a file does.
type identity struct {
	inode uint64
	size  int64
	mtime time.Time
}

// Open reads the store in options.Root, which is created if it is missing, and removes what broken transfers left. Files that
// are not the store's are left alone. It fails only if the directory cannot be used at all.
func Open(options Options) (*Store, error) {
	if err := os.MkdirAll(options.Root, 0o755); err != nil {
		return nil, fmt.Errorf("creating the store: %w", err)
	}
	s := &Store{options: options, entries: map[digest.Digest]*entry{}, tags: map[string]tagEntry{}}
	if err := s.measure(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(s.path(uploadsDir)); err != nil {
		return nil, fmt.Errorf("removing broken transfers: %w", err)
	}
	if err := os.MkdirAll(s.path(uploadsDir), 0o755); err != nil {
		return nil, fmt.Errorf("creating the directory for transfers: %w", err)
	}
	s.readBlobs()
	s.readRepositories()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish()
	return s, nil
}

func (s *Store) path(relative string) string {
	return filepath.Join(s.options.Root, filepath.FromSlash(relative))
}

func (s *Store) linkPath(dir string) string { return s.path(repositoriesDir + "/" + dir) }

// measure sets the capacity.
func (s *Store) measure() error {
	var volume unix.Statfs_t
	if err := unix.Statfs(s.options.Root, &volume); err != nil {
		return fmt.Errorf("measuring the volume of %s: %w", s.options.Root, err)
	}
	s.capacity = int64(volume.Blocks) * volume.Frsize
	if s.options.MaxSize > 0 {
		s.capacity = min(s.capacity, s.options.MaxSize)
	}
	metrics.CapacityBytes.Set(float64(s.capacity))
	return nil
}

// free is what the volume has left for this process.
func (s *Store) free() int64 {
	var volume unix.Statfs_t
	if err := unix.Statfs(s.options.Root, &volume); err != nil {
		return 0
	}
	return int64(volume.Bavail) * volume.Frsize
}

func (s *Store) watermark(percent int) int64 { return s.capacity / 100 * int64(percent) }

// Used is how many bytes of blobs the store holds.
func (s *Store) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Capacity is how many bytes the store may use, before the high watermark.
func (s *Store) Capacity() int64 { return s.capacity }

// Stat tells the size of a blob, and whether it is held.
func (s *Store) Stat(d digest.Digest) (size int64, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	if !ok {
		return 0, false
	}
	return e.size, true
}

// add must be called with mu held.
func (s *Store) add(d digest.Digest, e *entry) {
	if old, ok := s.entries[d]; ok {
		s.used -= old.size
		e.links, e.open = old.links, old.open
	}
	if e.links == nil {
		e.links = map[string]link{}
	}
	s.entries[d] = e
	s.used += e.size
	s.changed = true
}

// publish must be called with mu held.
func (s *Store) publish() {
	metrics.StoredBytes.Set(float64(s.used))
	metrics.StoredBlobs.Set(float64(len(s.entries)))
}

func identityOf(info fs.FileInfo) identity {
	i := identity{size: info.Size(), mtime: info.ModTime()}
	if stat, ok := info.Sys().(*unixStat); ok {
		i.inode = stat.Ino
	}
	return i
}
