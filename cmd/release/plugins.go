package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const plugin = "kubectl-registry_cache"

// writePlugins makes an archive of the plugin for each platform that there is one of.
func (r *release) writePlugins() error {
	if r.plugins == "" {
		return nil
	}
	platforms, err := os.ReadDir(r.plugins)
	if err != nil {
		return fmt.Errorf("looking for plugins: %w", err)
	}
	for _, platform := range platforms {
		archive, err := layerOf(map[string]string{plugin: plugin}, filepath.Join(r.plugins, platform.Name()))
		if err != nil {
			return fmt.Errorf("archive of the plugin for %s: %w", platform.Name(), err)
		}
		compressed, err := compress(archive)
		if err != nil {
			return fmt.Errorf("archive of the plugin for %s: %w", platform.Name(), err)
		}
		if err := r.put(plugin+"-"+platform.Name()+".tar.gz", compressed); err != nil {
			return err
		}
	}
	return nil
}
