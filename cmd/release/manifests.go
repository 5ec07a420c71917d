package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/yaml"
)

// The images that config names.
const (
	managerDefault  = "capi-registry-cache/manager:dev"
	workloadDefault = "capi-registry-cache/workload:dev"
)

// writeMetadata makes sure that clusterctl finds the version in a release series, without which it installs nothing.
func (r *release) writeMetadata() error {
	content, err := os.ReadFile(r.metadata)
	if err != nil {
		return fmt.Errorf("reading the metadata: %w", err)
	}
	version, err := utilversion.ParseSemantic(r.version)
	if err != nil {
		return fmt.Errorf("version %q: %w; accepted are semantic versions such as v0.1.0", r.version, err)
	}
	metadata := &clusterctlv1.Metadata{}
	if err := yaml.UnmarshalStrict(content, metadata); err != nil {
		return fmt.Errorf("parsing %s: %w", r.metadata, err)
	}
	if metadata.GetReleaseSeriesForVersion(version) == nil {
		return fmt.Errorf("version %s: %s has no release series for it; accepted are versions of one that is listed there", r.version, r.metadata)
	}
	return r.put("metadata.yaml", content)
}

// writeComponents replaces the images of a checkout by those of the release.
func (r *release) writeComponents() error {
	content, err := os.ReadFile(r.components)
	if err != nil {
		return fmt.Errorf("reading the components: %w", err)
	}
	for from, to := range map[string]string{managerDefault: r.managerImage, workloadDefault: r.workloadImage} {
		if err := checkImage(to); err != nil {
			return err
		}
		if bytes.Count(content, []byte(from)) != 1 {
			return fmt.Errorf("%s names the image %s %d times; accepted is once", r.components, from, bytes.Count(content, []byte(from)))
		}
		content = bytes.ReplaceAll(content, []byte(from), []byte(to))
	}
	return r.put("addon-components.yaml", content)
}

// checkImage refuses what clusterctl cannot read: it wants a registry, and a tag makes the release what it is.
func checkImage(image string) error {
	named, err := reference.ParseNamed(image)
	if err != nil {
		return fmt.Errorf("image %q: %w; accepted are images with registry and tag, such as ghcr.io/example/manager:v0.1.0", image, err)
	}
	if _, tagged := named.(reference.Tagged); !tagged {
		return fmt.Errorf("image %q has no tag; accepted are images with registry and tag, such as ghcr.io/example/manager:v0.1.0", image)
	}
	return nil
}

func (r *release) copyTemplates() error {
	paths, err := filepath.Glob(filepath.Join(r.templates, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("%s holds no YAML file; accepted is the folder of the cluster templates", r.templates)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path) //nolint:gosec // of this repository
		if err != nil {
			return fmt.Errorf("reading a cluster template: %w", err)
		}
		if err := r.put(filepath.Base(path), content); err != nil {
			return err
		}
	}
	return nil
}
