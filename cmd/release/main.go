package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// label is how clusterctl calls this provider; the folder of a local repository has to have this name:
// https://cluster-api.sigs.k8s.io/developer/providers/contracts/clusterctl
const label = "addon-registry-cache"

// release is what the flags say.
type release struct {
	version                     string
	components, metadata        string
	templates                   string
	managerImage, workloadImage string
	binaries, plugins, out      string
}

func main() {
	r := &release{}
	flag.StringVar(&r.version, "version", "", "Version, such as v0.1.0.")
	flag.StringVar(&r.components, "components", "", "File with config/release as kustomize rendered it.")
	flag.StringVar(&r.metadata, "metadata", "metadata.yaml", "File that says which versions implement which contract of Cluster API.")
	flag.StringVar(&r.templates, "templates", "templates/cluster", "Folder whose YAML files are cluster templates for users.")
	flag.StringVar(&r.managerImage, "manager-image", "", "Image of the manager, with registry and tag.")
	flag.StringVar(&r.workloadImage, "workload-image", "", "Image of what runs in workload clusters, with registry and tag.")
	flag.StringVar(&r.binaries, "binaries", "", "Folder with a folder for each platform, such as linux-amd64, with the binaries of both images.")
	flag.StringVar(&r.plugins, "plugins", "", "Folder with a folder for each platform with the plugin of kubectl; none if it is empty.")
	flag.StringVar(&r.out, "out", "out", "Folder for the release.")
	flag.Parse()
	if err := r.write(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func (r *release) folder() string { return filepath.Join(r.out, label, r.version) }

// write writes everything. An existing folder of the version is replaced.
func (r *release) write() error {
	if err := os.RemoveAll(r.folder()); err != nil {
		return fmt.Errorf("removing what is there of this version: %w", err)
	}
	if err := os.MkdirAll(r.folder(), 0o755); err != nil {
		return fmt.Errorf("making the folder of the release: %w", err)
	}
	return errors.Join(r.writeMetadata(), r.writeComponents(), r.copyTemplates(), r.writeImages(), r.writePlugins(), r.writeChecksums())
}

func (r *release) put(name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(r.folder(), name), content, 0o644); err != nil { //nolint:gosec // it is for everybody
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
