package store

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

type unixStat = syscall.Stat_t

// maxLink is more than a link can hold.
const maxLink = 256

// readBlobs fills the index. What is no blob is passed over; directories of blobs without data are leftovers.
func (s *Store) readBlobs() {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		root := s.path(path.Join(blobsDir, algorithm.String()))
		for _, prefix := range list(root) {
			for _, hex := range list(filepath.Join(root, prefix)) {
				d := digest.NewDigestFromEncoded(algorithm, hex)
				if d.Validate() != nil || !strings.HasPrefix(hex, prefix) {
					continue
				}
				s.readBlob(d)
			}
		}
	}
}

func (s *Store) readBlob(d digest.Digest) {
	removeTemporary(s.path(blobDir(d)))
	info, err := os.Lstat(s.path(dataPath(d)))
	if err != nil || !info.Mode().IsRegular() {
		_ = os.RemoveAll(s.path(blobDir(d)))
		return
	}
	s.add(d, &entry{size: info.Size(), stored: info.ModTime(), accessed: accessTime(info)})
}

func accessTime(info fs.FileInfo) time.Time {
	if stat, ok := info.Sys().(*unixStat); ok {
		return time.Unix(stat.Atim.Unix())
	}
	return info.ModTime()
}

// readRepositories finds links. Directories of a repository may hold further repositories.
func (s *Store) readRepositories() {
	root := s.path(repositoriesDir)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not ours
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		repository := filepath.ToSlash(filepath.Dir(relative))
		switch d.Name() {
		case layers:
			s.readLinks(repository, path.Join(repository, layers), layerLink)
		case manifests:
			s.readLinks(repository, path.Join(repository, revisions), revisionLink)
			s.readTags(repository)
		case uploads:
			_ = os.RemoveAll(name)
		default:
			return nil
		}
		return fs.SkipDir
	})
	if err != nil {
		logrus.WithError(err).Warn("reading the repositories in the store")
	}
}

func (s *Store) readLinks(repository, dir string, kind linkKind) {
	for _, algorithm := range list(s.linkPath(dir)) {
		for _, hex := range list(s.linkPath(path.Join(dir, algorithm))) {
			s.readLink(path.Join(dir, algorithm, hex), digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex), link{kind, repository})
		}
	}
}

// readLink notes that dir refers to d. One that refers to nothing is a leftover.
func (s *Store) readLink(dir string, d digest.Digest, l link) {
	if checkDigest(d) != nil {
		return
	}
	removeTemporary(s.linkPath(dir))
	e, ok := s.entries[d]
	if !ok {
		s.removeLink(dir)
		return
	}
	if got, ok := s.linkedDigest(dir); !ok || got != d {
		s.removeLink(dir)
		return
	}
	e.links[dir] = l
}

func (s *Store) linkedDigest(dir string) (digest.Digest, bool) {
	file, err := os.Open(filepath.Join(s.linkPath(dir), linkFile))
	if err != nil {
		return "", false
	}
	defer file.Close() //nolint:errcheck // it was only read
	buffer := make([]byte, maxLink)
	n, _ := file.Read(buffer)
	d, err := digest.Parse(strings.TrimSpace(string(buffer[:n])))
	return d, err == nil && checkDigest(d) == nil
}

func (s *Store) readTags(repository string) {
	for _, tag := range list(s.linkPath(path.Join(repository, tags))) {
		dir := tagDir(repository, tag)
		s.readLinks(repository, path.Join(dir, "index"), tagIndexLink)
		removeTemporary(s.linkPath(path.Join(dir, "current")))
		d, ok := s.linkedDigest(path.Join(dir, "current"))
		e, held := s.entries[d]
		if !ok || !held {
			s.removeLink(dir)
			continue
		}
		e.links[dir] = link{tagLink, repository}
		current := tagEntry{digest: d}
		if info, err := os.Stat(filepath.Join(s.linkPath(dir), "current", linkFile)); err == nil {
			current.checked = info.ModTime()
		}
		s.tags[dir] = current
	}
}

// list returns the names in a directory; one that is missing or cannot be read is empty.
func list(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// removeTemporary removes what an interrupted write of a file, by this store or by distribution, left in a directory.
func removeTemporary(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
