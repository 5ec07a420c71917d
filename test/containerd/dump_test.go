//go:build e2e

package containerd

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/pelletier/go-toml/v2"
)

// dump asks containerd with the command line that it runs with; 1.x prints no defaults without a file.
const dump = `set -- $(tr '\0' ' ' </proc/$(systemctl show --property MainPID --value containerd)/cmdline)
"$@" config dump || "$@" --config /dev/null config dump`

// settings are all that containerd says to have.
func (n *node) settings(ctx context.Context) map[string]any {
	GinkgoHelper()
	printed := n.run(ctx, "sh", "-c", dump)
	settings := map[string]any{}
	Expect(toml.Unmarshal([]byte(printed), &settings)).To(Succeed())
	return settings
}

// registryTables are where the CRI plugin keeps config_path, in containerd 1.x and in 2.x.
func registryTables(settings map[string]any) []map[string]any {
	var tables []map[string]any
	for _, plugin := range []string{"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"} {
		section, _ := settings["plugins"].(map[string]any)[plugin].(map[string]any)
		if table, ok := section["registry"].(map[string]any); ok {
			tables = append(tables, table)
		}
	}
	return tables
}

func configPaths(settings map[string]any) []any {
	var paths []any
	for _, table := range registryTables(settings) {
		paths = append(paths, table["config_path"])
	}
	return paths
}

// forget what is to change.
func forget(settings map[string]any) {
	delete(settings, "imports")
	for _, table := range registryTables(settings) {
		delete(table, "config_path")
	}
}
