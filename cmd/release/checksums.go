package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const checksums = "SHA256SUMS"

// writeChecksums writes what `sha256sum --check` reads.
func (r *release) writeChecksums() error {
	entries, err := os.ReadDir(r.folder())
	if err != nil {
		return fmt.Errorf("listing the release: %w", err)
	}
	var lines bytes.Buffer
	for _, entry := range entries {
		sum, err := checksum(filepath.Join(r.folder(), entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sum, entry.Name())
	}
	return r.put(checksums, lines.Bytes())
}

func checksum(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // it was just written
	if err != nil {
		return nil, fmt.Errorf("making checksums: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return nil, fmt.Errorf("making checksums: %w", err)
	}
	return hash.Sum(nil), nil
}
