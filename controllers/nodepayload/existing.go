package nodepayload

import (
	"fmt"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

// State is the desired state of nodes that exist already.
func State(rc *v1alpha1.RegistryCache) (desired.State, error) {
	files, err := payload.Files(Values(rc))
	if err != nil {
		return desired.State{}, fmt.Errorf("rendering the files of a node: %w", err)
	}
	return desired.New(payload.UnitName, list(files), false)
}

// Removal asks nodes to remove everything of ours; script and unit are what does it.
func Removal(rc *v1alpha1.RegistryCache) (desired.State, error) {
	files, err := payload.Files(payload.Values{CertsDir: rc.Spec.Nodes.CertsDir})
	if err != nil {
		return desired.State{}, fmt.Errorf("rendering the files of a node: %w", err)
	}
	return desired.New(payload.UnitName, list(files), true)
}

func list(files []payload.File) []desired.File {
	list := make([]desired.File, 0, len(files)+1)
	for _, f := range append(files, payload.Managed()) {
		list = append(list, desired.File{Path: f.Path, Mode: f.Mode, Content: f.Content})
	}
	return list
}
