package store

import (
	"fmt"
	"path"
	"time"

	"github.com/opencontainers/go-digest"
)

// LinkLayer makes a blob that is held a layer of a repository. It looks at the index only if it is one already. The error
// wraps ErrNotStored.
func (s *Store) LinkLayer(repository string, d digest.Digest) error {
	return s.link(link{kind: layerLink, repository: repository}, d)
}

// LinkManifest makes a blob that is held a manifest of a repository, as LinkLayer does with layers.
func (s *Store) LinkManifest(repository string, d digest.Digest) error {
	return s.link(link{kind: revisionLink, repository: repository}, d)
}

// HasManifest tells whether the repository has the manifest and its content is held, without looking at the disk.
func (s *Store) HasManifest(repository string, d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.linked(d, link{kind: revisionLink, repository: repository})
}

func (s *Store) link(l link, d digest.Digest) error {
	s.mu.Lock()
	known := s.index.linked(d, l)
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := checkRepository(l.repository); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return s.withRoom(linkRoom, func() error {
		s.layout.Lock()
		defer s.layout.Unlock()
		if !s.holds(d) {
			return notHeld(d)
		}
		if err := s.writeLink(l.dir(d), d); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.index.link(s.index.entries[d], l) // what is held while layout is locked stays
		return nil
	})
}

func (s *Store) holds(d digest.Digest) bool {
	_, held := s.Stat(d)
	return held
}

// writeLink must be called with layout held, and d held.
func (s *Store) writeLink(dir string, d digest.Digest) error {
	full := s.path(repositoriesDir, dir)
	err := s.replaceFile(s.path(repositoriesDir, dir, linkFile), []byte(d))
	if err != nil {
		prune(full, s.path(repositoriesDir))
		return fmt.Errorf("writing a link: %w", err)
	}
	return nil
}

// Tag makes a manifest that is held what a tag of the repository means, and notes that the upstream was asked now. The
// error wraps ErrNotStored.
func (s *Store) Tag(repository, name string, d digest.Digest) error {
	key, now := tagKey{repository, name}, time.Now()
	if s.confirm(key, d, now) {
		return nil
	}
	if err := checkRepository(repository); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	if err := checkTag(name); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return s.withRoom(linkRoom, func() error { return s.tag(key, d, now) })
}

// tag writes what distribution's tag store writes: d among the digests that the tag had, and as the current one.
func (s *Store) tag(key tagKey, d digest.Digest, now time.Time) error {
	s.layout.Lock()
	defer s.layout.Unlock()
	if !s.holds(d) {
		return notHeld(d)
	}
	history := link{tagIndexLink, key.repository, key.tag}
	err := s.writeLink(history.dir(d), d)
	if err == nil {
		err = s.writeLink(path.Join(key.dir(), currentDir), d)
	}
	if err != nil {
		s.untag(key, history, d)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index.entries[d] // what is held while layout is locked stays
	s.index.tag(key, e, now)
	s.index.link(e, history)
	return nil
}

// untag removes what was written of a tag when the rest could not be.
func (s *Store) untag(key tagKey, history link, d digest.Digest) {
	s.mu.Lock()
	_, known := s.index.tags[key]
	linked := s.index.linked(d, history)
	s.mu.Unlock()
	if !known {
		s.removeTag(key)
	} else if !linked {
		s.removeLink(history.dir(d))
	}
}

// confirm notes that a tag was checked if it means d already.
func (s *Store) confirm(key tagKey, d digest.Digest, now time.Time) bool {
	s.mu.Lock()
	t, ok := s.index.tags[key]
	ok = ok && t.current == d
	due := ok && now.Sub(t.touched) >= touchInterval
	if ok {
		t.checked = now
	}
	if due {
		t.touched = now
	}
	s.mu.Unlock()
	if due {
		// A check that is forgotten is repeated.
		_ = setTimes(s.path(repositoriesDir, key.dir(), currentDir, linkFile), omit, timespec(now))
	}
	return ok
}

// Resolve returns what a tag meant when the upstream was last asked, and when that was. ok is false if the tag is not
// known or its manifest is not held.
func (s *Store) Resolve(repository, name string) (d digest.Digest, checked time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.index.tags[tagKey{repository, name}]
	if !ok {
		return "", time.Time{}, false
	}
	return t.current, t.checked, true
}
