package cloudinit

import (
	"encoding/base64"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// entry is an item of write_files: https://docs.cloud-init.io/en/latest/reference/modules.html#write-files.
type entry struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner"`
	Permissions string `yaml:"permissions"`
	Encoding    string `yaml:"encoding"`
	Content     string `yaml:"content"`
}

// newEntry is the item that carries the archive.
func newEntry(archive []byte) entry {
	return entry{
		Path:        payload.ArchivePath,
		Owner:       "root:root",
		Permissions: "0644",
		Encoding:    "base64",
		Content:     base64.StdEncoding.EncodeToString(archive),
	}
}

// newEntries are the lines of our items, by list.
func newEntries(file entry, command string) (map[string][]string, error) {
	lines := map[string][]string{}
	for key, list := range map[string]any{writeFiles: []entry{file}, runcmd: []string{command}} {
		var out strings.Builder
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		if err := encoder.Encode(list); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", key, err)
		}
		if err := encoder.Close(); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", key, err)
		}
		lines[key] = strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
	return lines, nil
}
