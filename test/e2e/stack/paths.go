package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of what `make stack` provides.
const (
	NodeImage         = "capi-registry-cache/node:v1.36.3"
	ManagerImage      = "capi-registry-cache/manager:dev"
	WorkloadImage     = "capi-registry-cache/workload:dev"
	KubernetesVersion = "v1.36.3"
)

// paths are the places of the repository that the stack reads and writes.
type paths struct{ root, name string }

// findPaths looks for the root of the repository, from the working directory upwards.
func findPaths(name string) (paths, error) {
	dir, err := os.Getwd()
	if err != nil {
		return paths{}, fmt.Errorf("finding the repository: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "kubernetes", "dockerd.sh")); err == nil {
			return paths{root: dir, name: name}, nil
		}
	}
	return paths{}, errors.New("finding the repository: no directory above the working directory holds test/kubernetes")
}

func (p paths) in(elements ...string) string {
	return filepath.Join(append([]string{p.root}, elements...)...)
}

// program is a program that test/kubernetes built.
func (p paths) program(name string) string { return p.in("bin", "kubernetes", "bin", name) }

// state is a file that outlives this process.
func (p paths) state(elements ...string) string {
	return filepath.Join(append([]string{p.root, "bin", p.name}, elements...)...)
}

// logs is a file below the directory that a failed run leaves.
func (p paths) logs(elements ...string) string {
	return filepath.Join(append([]string{p.root, "bin", "e2e-logs"}, elements...)...)
}
