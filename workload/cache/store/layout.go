package store

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The layout of distribution (registry/storage/paths.go). Links are files that hold a digest.
const (
	blobsDir        = "docker/registry/v2/blobs"
	repositoriesDir = "docker/registry/v2/repositories"
	uploadsDir      = "pullthrough-uploads" // ours
	stateFile       = "scheduler-state.json"

	dataFile  = "data"
	linkFile  = "link"
	layers    = "_layers"
	manifests = "_manifests"
	uploads   = "_uploads"
	revisions = manifests + "/revisions"
	tags      = manifests + "/tags"
)

func blobDir(d digest.Digest) string {
	return path.Join(blobsDir, d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

func dataPath(d digest.Digest) string { return path.Join(blobDir(d), dataFile) }

func digestDir(d digest.Digest) string { return path.Join(d.Algorithm().String(), d.Encoded()) }

func layerDir(repository string, d digest.Digest) string {
	return path.Join(repository, layers, digestDir(d))
}

func revisionDir(repository string, d digest.Digest) string {
	return path.Join(repository, revisions, digestDir(d))
}

func tagDir(repository, tag string) string { return path.Join(repository, tags, tag) }

func tagIndexDir(repository, tag string, d digest.Digest) string {
	return path.Join(tagDir(repository, tag), "index", digestDir(d))
}

// checkDigest refuses what has no place in the layout.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("digest %q: accepted are sha256 and sha512", d)
	}
	return nil
}

// checkName refuses a repository or tag that would leave its place. The router has checked its form already.
func checkName(field, name string) error {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "..") || strings.Contains(name, "/_") || name[0] == '_' {
		return fmt.Errorf("%s %q is not a name; accepted are those of the OCI distribution specification", field, name)
	}
	return nil
}
