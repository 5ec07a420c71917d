package store

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	// The hashes of the digests that are accepted.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"
)

// The layout is distribution's (registry/storage/paths.go and, for the state of its scheduler, registry/proxy); only
// the directory of temporary files is not.
const (
	blobsDir        = "docker/registry/v2/blobs"
	repositoriesDir = "docker/registry/v2/repositories"
	stateFile       = "scheduler-state.json"
	temporaryDir    = "pullthrough-uploads"

	dataFile     = "data"
	linkFile     = "link"
	layersDir    = "_layers"
	manifestsDir = "_manifests"
	revisionsDir = "revisions"
	tagsDir      = "tags"
	currentDir   = "current"
	indexDir     = "index"
	uploadsDir   = "_uploads"
	// distribution writes name.UUID.tmp and renames it.
	temporarySuffix = ".tmp"
)

// As distribution creates them. The umask decides.
const (
	dirMode  = 0o777
	fileMode = 0o666
)

// linkKind is why a digest is linked in a repository.
type linkKind int

const (
	layerLink linkKind = iota
	revisionLink
	tagIndexLink // a digest that the tag has or had
)

// link is a directory of a repository that goes when the digest goes.
type link struct {
	kind       linkKind
	repository string
	tag        string // of a tagIndexLink
}

// dir is where the link of d is, below repositories.
func (l link) dir(d digest.Digest) string {
	switch l.kind {
	case layerLink:
		return path.Join(l.repository, layersDir, digestDir(d))
	case revisionLink:
		return path.Join(l.repository, manifestsDir, revisionsDir, digestDir(d))
	default:
		return path.Join(tagKey{l.repository, l.tag}.dir(), indexDir, digestDir(d))
	}
}

// tagKey names a tag.
type tagKey struct{ repository, tag string }

// dir is where the tag is, below repositories.
func (k tagKey) dir() string { return path.Join(k.repository, manifestsDir, tagsDir, k.tag) }

func digestDir(d digest.Digest) string { return path.Join(d.Algorithm().String(), d.Encoded()) }

func (s *Store) path(relative ...string) string {
	return filepath.Join(s.options.Root, filepath.Join(relative...))
}

func (s *Store) blobDir(d digest.Digest) string {
	return s.path(blobsDir, d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

func (s *Store) dataPath(d digest.Digest) string { return filepath.Join(s.blobDir(d), dataFile) }

// checkDigest must pass before a path is made of d.
func checkDigest(d digest.Digest) error {
	algorithm, _, _ := strings.Cut(string(d), ":")
	if (algorithm != string(digest.SHA256) && algorithm != string(digest.SHA512)) || d.Validate() != nil {
		return fmt.Errorf("digest %q is invalid; %w", d, errBadDigest)
	}
	return nil
}

// checkRepository refuses names that would leave the layout. Distribution's router has checked their form.
func checkRepository(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) || strings.HasPrefix(name, "_") || strings.Contains(name, "/_") {
		return fmt.Errorf("repository %q is invalid; accepted are the names of the distribution specification", name)
	}
	return nil
}

func checkTag(tag string) error {
	if tag == "" || tag == "." || tag == ".." || strings.ContainsAny(tag, "/\x00") {
		return fmt.Errorf("tag %q is invalid; accepted are the tags of the distribution specification", tag)
	}
	return nil
}
