package store

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotStored says that content can be served, but not kept: there is no room for it, or the file system refused it.
	ErrNotStored = errors.New("not stored")
	// ErrDigest says that content is not what its digest says.
	ErrDigest = errors.New("the content does not match its digest")

	errBadDigest = errors.New("accepted are sha256 and sha512 with lower-case hexadecimal digits")
)

// Options say where and how much is stored.
type Options struct {
	// Root is the directory of the store (storage.filesystem.rootdirectory). It is created if it is missing.
	Root string
	// MaxSize is how many bytes the cache may use; 0 is the size of the volume that Root is on, which is also the most.
	MaxSize int64
	// HighWatermark and LowWatermark are percent of that: blobs are evicted above the high one, down to the low one.
	HighWatermark, LowWatermark int
	// TTL is the life of a blob since it was stored; 0: it never expires.
	TTL time.Duration
}

func (o Options) check() error {
	switch {
	case o.Root == "":
		return errors.New("store.Options.Root is not set; accepted is a directory that this process may write to")
	case o.MaxSize < 0:
		return fmt.Errorf("store.Options.MaxSize: %d is negative; accepted are bytes, and 0 for the size of the volume", o.MaxSize)
	case o.HighWatermark < 1 || o.HighWatermark > 100:
		return fmt.Errorf("store.Options.HighWatermark: %d is out of range; accepted are 1 to 100", o.HighWatermark)
	case o.LowWatermark < 0 || o.LowWatermark >= o.HighWatermark:
		return fmt.Errorf("store.Options.LowWatermark: %d is out of range; accepted are 0 to %d, less than HighWatermark", o.LowWatermark, o.HighWatermark-1)
	case o.TTL < 0:
		return fmt.Errorf("store.Options.TTL: %s is negative; accepted are durations, and 0 for blobs that do not expire", o.TTL)
	}
	return nil
}
