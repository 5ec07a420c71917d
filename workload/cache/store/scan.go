package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// scanner fills the index from the disk. Nothing else uses the store meanwhile.
type scanner struct {
	*Store
	now       time.Time
	leftovers int // removed: of interrupted transfers, and links to what is not held
	foreign   int // passed over
}

// scan reads the store. It fails only if its root cannot be read.
func (s *Store) scan() error {
	if _, err := os.ReadDir(s.options.Root); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	c := &scanner{Store: s, now: time.Now()}
	c.blobs()
	c.repositories(".")
	c.temporaries(s.options.Root)
	c.leftover(s.path(temporaryDir))
	if err := os.MkdirAll(s.path(temporaryDir), dirMode); err != nil {
		logrus.WithError(err).Warn("nothing can be stored for now")
	}
	s.index.changed = true
	logrus.WithFields(logrus.Fields{
		"blobs": len(s.index.entries), "bytes": s.index.bytes, "leftovers": c.leftovers, "foreign": c.foreign, "duration": time.Since(c.now).String(),
	}).Info("opened the store")
	return nil
}

// list reads a directory. One that cannot be read is passed over.
func (c *scanner) list(dir string) []fs.DirEntry {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.ignore(dir, err)
	}
	return entries
}

func (c *scanner) ignore(name string, err error) {
	c.foreign++
	logrus.WithError(err).WithField("path", name).Debug("passed over in the store")
}

var errForeign = errors.New("it is not of this store")

// leftover removes a file or a directory.
func (c *scanner) leftover(name string) {
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := os.RemoveAll(name); err != nil {
		logrus.WithError(err).Warn("what an interrupted transfer left stays")
		return
	}
	c.leftovers++
}

// temporaries removes what an interrupted write of distribution left in a directory, and returns the rest.
func (c *scanner) temporaries(dir string) []fs.DirEntry {
	return slices.DeleteFunc(c.list(dir), func(f fs.DirEntry) bool {
		temporary := f.Type().IsRegular() && strings.HasSuffix(f.Name(), temporarySuffix)
		if temporary {
			c.leftover(filepath.Join(dir, f.Name()))
		}
		return temporary
	})
}

// digests returns the valid digests among the directories in dir.
func (c *scanner) digests(algorithm digest.Algorithm, dir string) []digest.Digest {
	var found []digest.Digest
	for _, f := range c.list(dir) {
		d := digest.NewDigestFromEncoded(algorithm, f.Name())
		if !f.IsDir() || checkDigest(d) != nil {
			c.ignore(filepath.Join(dir, f.Name()), errForeign)
			continue
		}
		found = append(found, d)
	}
	return found
}

func (c *scanner) blobs() {
	var found []*entry
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		root := c.path(blobsDir, string(algorithm))
		for _, prefix := range c.list(root) {
			dir := filepath.Join(root, prefix.Name())
			for _, d := range c.digests(algorithm, dir) {
				if d.Encoded()[:2] != prefix.Name() {
					c.ignore(filepath.Join(dir, d.Encoded()), errForeign)
				} else if e := c.blob(d); e != nil {
					found = append(found, e)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Or(a.accessed.Compare(b.accessed), cmp.Compare(a.digest, b.digest)) })
	for _, e := range found {
		c.index.put(e.digest, e.size, e.stored, e.accessed).touched = e.accessed
	}
}

// blob describes the file of d, nil if there is none. What is in its place without being a file is removed: it would be in
// the way for ever.
func (c *scanner) blob(d digest.Digest) (e *entry) {
	dir := c.blobDir(d)
	for _, f := range c.temporaries(dir) {
		name := filepath.Join(dir, f.Name())
		info, err := f.Info()
		switch {
		case f.Name() != dataFile:
			c.ignore(name, errForeign)
		case err != nil:
			c.ignore(name, err)
		case !info.Mode().IsRegular():
			c.leftover(name)
		default:
			e = &entry{digest: d, size: info.Size(), stored: c.past(info.ModTime()), accessed: c.past(accessTime(info))}
		}
	}
	if e == nil {
		prune(dir, c.path(blobsDir))
	}
	return e
}

// past corrects a time from when the clock was wrong: it would keep a blob for ever.
func (c *scanner) past(t time.Time) time.Time {
	if t.After(c.now) {
		return c.now
	}
	return t
}

// accessTime is when a blob was last used; on a file that nobody has used, it may be older than its content.
func accessTime(info fs.FileInfo) time.Time {
	accessed := info.ModTime()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && time.Unix(stat.Atim.Unix()).After(accessed) {
		accessed = time.Unix(stat.Atim.Unix())
	}
	return accessed
}

// repositories reads the repository in dir and those below it; both may be in one directory.
func (c *scanner) repositories(dir string) {
	full := c.path(repositoriesDir, dir)
	for _, f := range c.list(full) {
		name := path.Join(dir, f.Name())
		switch {
		case !f.IsDir() || dir == "." && strings.HasPrefix(f.Name(), "_"):
			c.ignore(filepath.Join(full, f.Name()), errForeign)
		case f.Name() == layersDir:
			c.links(name, link{kind: layerLink, repository: dir})
		case f.Name() == manifestsDir:
			c.links(path.Join(name, revisionsDir), link{kind: revisionLink, repository: dir})
			c.tags(dir)
		case f.Name() == uploadsDir:
			c.leftover(filepath.Join(full, uploadsDir))
		case strings.HasPrefix(f.Name(), "_"):
			c.ignore(filepath.Join(full, f.Name()), errForeign)
		default:
			c.repositories(name)
		}
	}
	prune(full, c.path(repositoriesDir))
}
