package store

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// LinkLayer makes a blob a layer of a repository. An error wraps ErrNotStored.
func (s *Store) LinkLayer(repository string, d digest.Digest) error {
	return s.link(repository, layerDir(repository, d), d, layerLink)
}

// LinkManifest makes a blob a manifest of a repository. An error wraps ErrNotStored.
func (s *Store) LinkManifest(repository string, d digest.Digest) error {
	return s.link(repository, revisionDir(repository, d), d, revisionLink)
}

// HasManifest tells whether the repository has the manifest, and the store its content.
func (s *Store) HasManifest(repository string, d digest.Digest) bool {
	return s.linked(revisionDir(repository, d), d)
}

func (s *Store) linked(dir string, d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	if !ok {
		return false
	}
	_, ok = e.links[dir]
	return ok
}

// link writes a link unless the index knows it.
func (s *Store) link(repository, dir string, d digest.Digest, kind linkKind) error {
	if err := checkName("repository", repository); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	if s.linked(dir, d) {
		return nil
	}
	s.linking.Lock()
	defer s.linking.Unlock()
	if err := s.writeLink(dir, d); err != nil {
		return err
	}
	s.mu.Lock()
	e, ok := s.entries[d]
	if ok {
		e.links[dir] = link{kind, repository}
		s.changed = true
	}
	s.mu.Unlock()
	if !ok {
		s.removeLink(dir)
		return fmt.Errorf("%w: %s was removed meanwhile", ErrNotStored, d)
	}
	return nil
}

func (s *Store) writeLink(dir string, d digest.Digest) error {
	if err := writeFile(filepath.Join(s.linkPath(dir), linkFile), []byte(d)); err != nil {
		return fmt.Errorf("%w: writing a link: %w", ErrNotStored, err)
	}
	return nil
}

// Tag makes a manifest what a tag of the repository means, and notes that the tag was checked now. An error wraps
// ErrNotStored.
func (s *Store) Tag(repository, tag string, d digest.Digest) error {
	if err := checkName("tag", tag); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	dir := tagDir(repository, tag)
	s.mu.Lock()
	old, known := s.tags[dir]
	s.mu.Unlock()
	if known && old.digest == d {
		return s.check(dir, d)
	}
	if err := s.link(repository, tagIndexDir(repository, tag, d), d, tagIndexLink); err != nil {
		return err
	}
	s.linking.Lock()
	defer s.linking.Unlock()
	if err := s.writeLink(path.Join(dir, "current"), d); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	if !ok {
		_ = os.RemoveAll(s.linkPath(dir))
		return fmt.Errorf("%w: %s was removed meanwhile", ErrNotStored, d)
	}
	if before, ok := s.entries[old.digest]; ok {
		delete(before.links, dir)
	}
	e.links[dir] = link{tagLink, repository}
	s.tags[dir] = tagEntry{digest: d, checked: time.Now()}
	return nil
}

// check notes that a tag is still what it was.
func (s *Store) check(dir string, d digest.Digest) error {
	now := time.Now()
	s.mu.Lock()
	s.tags[dir] = tagEntry{digest: d, checked: now}
	s.mu.Unlock()
	if err := os.Chtimes(filepath.Join(s.linkPath(dir), "current", linkFile), time.Time{}, now); err != nil {
		return fmt.Errorf("%w: noting that a tag was checked: %w", ErrNotStored, err)
	}
	return nil
}

// Resolve returns what a tag was when the upstream was last asked, and when that was, if the manifest is held.
func (s *Store) Resolve(repository, tag string) (d digest.Digest, checked time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tags[tagDir(repository, tag)]
	if !ok {
		return "", time.Time{}, false
	}
	e, held := s.entries[t.digest]
	if !held {
		return "", time.Time{}, false
	}
	if _, linked := e.links[revisionDir(repository, t.digest)]; !linked {
		return "", time.Time{}, false
	}
	return t.digest, t.checked, true
}

// removeLink removes a directory under repositories, and those above it that are empty now.
func (s *Store) removeLink(dir string) {
	_ = os.RemoveAll(s.linkPath(dir))
	for parent := path.Dir(dir); parent != "."; parent = path.Dir(parent) {
		if os.Remove(s.linkPath(parent)) != nil {
			return
		}
	}
}

// writeFile replaces a file as a whole. The directory may be removed by removeLink at the same moment.
func writeFile(name string, content []byte) error {
	temporary := name + ".tmp"
	var err error
	for range 3 {
		if err = os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err = os.WriteFile(temporary, content, 0o644); err == nil {
			err = os.Rename(temporary, name)
		}
		if err == nil || !os.IsNotExist(err) {
			break
		}
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}
