package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

const (
	etcDir   = "etc/capi-registry-cache"
	unitDir  = "etc/systemd/system"
	stateDir = "run/capi-registry-cache"

	// generationFile is written last: whoever reads it finds the rest in place.
	generationFile = etcDir + "/generation"
	// managedFile is among the files; as long as it is touched, somebody looks after the node.
	managedFile = etcDir + "/managed.sh"
	// removeFile asks the unit to clear the node.
	removeFile = etcDir + "/remove"

	tempSuffix = ".tmp~"
)

// host is the root of the node's file system, as far as the Pod sees it. Links that lead out of it are not followed.
type host struct{ *os.Root }

// write brings the files in line, the least important to a half-done change last, and tells whether script or unit changed.
func (h host) write(s desired.State) (restart bool, err error) {
	for _, f := range s.Files {
		changed, err := h.put(f)
		if err != nil {
			return restart, err
		}
		restart = restart || (changed && !strings.HasPrefix(f.Path, "/"+etcDir+"/"))
	}
	return restart, nil
}

// put writes a file beside its place and renames it, unless it is there as it should be.
func (h host) put(f desired.File) (changed bool, err error) {
	name := strings.TrimPrefix(f.Path, "/")
	if h.same(name, f) {
		return false, nil
	}
	if err := h.MkdirAll(path.Dir(name), 0o755); err != nil {
		return false, fmt.Errorf("writing %s: %w", f.Path, err)
	}
	if err := h.WriteFile(name+tempSuffix, f.Content, f.Mode); err != nil {
		return false, fmt.Errorf("writing %s: %w", f.Path, err)
	}
	err = errors.Join(h.Chmod(name+tempSuffix, f.Mode), h.Rename(name+tempSuffix, name))
	if err != nil {
		return false, fmt.Errorf("writing %s: %w", f.Path, err)
	}
	return true, nil
}

func (h host) same(name string, f desired.File) bool {
	info, err := h.Lstat(name)
	if err != nil || info.Mode() != f.Mode {
		return false
	}
	content, err := h.ReadFile(name)
	return err == nil && bytes.Equal(content, f.Content)
}

// prune removes what else there is in our directory.
func (h host) prune(s desired.State) error {
	keep := map[string]bool{etcDir: true, generationFile: true}
	for _, f := range s.Files {
		for name := strings.TrimPrefix(f.Path, "/"); name != "."; name = path.Dir(name) {
			keep[name] = true
		}
	}
	var extra []string
	err := fs.WalkDir(h.FS(), etcDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if keep[name] {
			return nil
		}
		extra = append(extra, name)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking through /%s: %w", etcDir, err)
	}
	for _, name := range extra {
		if err := h.RemoveAll(name); err != nil {
			return fmt.Errorf("removing /%s: %w", name, err)
		}
	}
	return nil
}

// left are the files of ours that are still there.
func (h host) left(s desired.State) []string {
	var left []string
	for _, f := range s.Files {
		if _, err := h.Lstat(strings.TrimPrefix(f.Path, "/")); err == nil {
			left = append(left, f.Path)
		}
	}
	entries, err := fs.ReadDir(h.FS(), etcDir)
	if err != nil {
		return left
	}
	for _, e := range entries {
		if file := "/" + etcDir + "/" + e.Name(); !slices.Contains(left, file) {
			left = append(left, file)
		}
	}
	return left
}
