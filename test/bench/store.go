package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// stored is what lies in a store.
type stored struct {
	bytes   int64    // of all files
	foreign []string // files that are neither content nor its links nor the state of expiry
}

// known are the files of distribution's layout.
var known = regexp.MustCompile(`^(docker/registry/v2/(blobs/[^/]+/../[0-9a-f]+/data|repositories/.+/link)|scheduler-state\.json)$`)

// measureStore reads the store below root. The sizes are those of files, not of blocks: what a file system adds for each
// of them is the same for everyone.
func measureStore(root string) (stored, error) {
	var s stored
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		s.bytes += info.Size()
		relative, err := filepath.Rel(root, path)
		if err == nil && !known.MatchString(relative) {
			s.foreign = append(s.foreign, relative)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("measuring the store %s: %w", root, err)
	}
	return s, nil
}
