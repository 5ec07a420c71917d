// Command draw makes the picture of the dashboard in docs: of the JSON in config/monitoring, and of what a Prometheus answered to its
// queries, which a spec of test/e2e keeps.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard/picture"
)

func main() {
	answers := flag.String("answers", "", "file with the answers of a Prometheus")
	out := flag.String("out", "docs/registry-caches.png", "picture to write")
	flag.Parse()
	if err := run(*answers, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(answers, out string) error {
	content, err := os.ReadFile(dashboard.File)
	if err != nil {
		return fmt.Errorf("reading the dashboard, from the root of the repository: %w", err)
	}
	panels, err := dashboard.Read(content)
	if err != nil {
		return err
	}
	capture, err := dashboard.Load(answers)
	if err != nil {
		return err
	}
	var drawn bytes.Buffer
	if err := picture.PNG(&drawn, "Registry Caches", panels, capture); err != nil {
		return err
	}
	return os.WriteFile(filepath.Clean(out), drawn.Bytes(), 0o644) //nolint:gosec // a picture for the documentation
}
