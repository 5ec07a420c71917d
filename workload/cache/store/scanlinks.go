package store

import (
	"errors"
	"io"
	"path"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// links reads the links below dir, a directory of algorithms.
func (c *scanner) links(dir string, l link) {
	full := c.path(repositoriesDir, dir)
	for _, algorithm := range c.list(full) {
		parent := filepath.Join(full, algorithm.Name())
		for _, d := range c.digests(digest.Algorithm(algorithm.Name()), parent) {
			c.link(l, d)
		}
		prune(parent, c.path(repositoriesDir))
	}
	prune(full, c.path(repositoriesDir))
}

// link notes a link of a blob that is held, and removes one that is broken or leads nowhere. Its size tells whether it was
// written; reading as many small files as there are links would take long.
func (c *scanner) link(l link, d digest.Digest) {
	dir := c.path(repositoriesDir, l.dir(d))
	size := int64(-1)
	for _, f := range c.temporaries(dir) {
		if info, err := f.Info(); f.Name() == linkFile && err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	e, held := c.index.entries[d]
	if !held || size != int64(len(d)) {
		c.leftover(filepath.Join(dir, linkFile))
		prune(dir, c.path(repositoriesDir))
		return
	}
	c.index.link(e, l)
}

func (c *scanner) tags(repository string) {
	full := c.path(repositoriesDir, repository, manifestsDir, tagsDir)
	for _, f := range c.list(full) {
		if f.IsDir() {
			c.tag(tagKey{repository, f.Name()})
		} else {
			c.ignore(filepath.Join(full, f.Name()), errForeign)
		}
	}
	prune(full, c.path(repositoriesDir))
}

// tag notes a tag whose manifest is held, and removes one that is broken or leads nowhere.
func (c *scanner) tag(key tagKey) {
	full := c.path(repositoriesDir, key.dir())
	current := filepath.Join(full, currentDir)
	c.temporaries(current)
	d, checked, err := readLink(filepath.Join(current, linkFile))
	e, held := c.index.entries[d]
	switch {
	case err != nil && !isWrong(err) && !errors.Is(err, errBrokenLink):
		c.ignore(full, err)
	case err != nil || !held:
		c.leftover(full)
	default:
		c.index.tag(key, e, c.past(checked))
		c.links(path.Join(key.dir(), indexDir), link{tagIndexLink, key.repository, key.tag})
	}
}

var errBrokenLink = errors.New("it is not a digest")

// readLink returns the digest in a link, and when it was written.
func readLink(name string) (digest.Digest, time.Time, error) {
	file, id, err := openRegular(name)
	if err != nil {
		return "", time.Time{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	const longest = len("sha512:") + 128
	content, err := io.ReadAll(io.LimitReader(file, int64(longest)+1))
	if err != nil {
		return "", time.Time{}, err
	}
	d := digest.Digest(content)
	if checkDigest(d) != nil {
		return "", time.Time{}, errBrokenLink
	}
	return d, time.Unix(0, id.mtime), nil
}
