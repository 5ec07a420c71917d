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

func newEntry(f payload.File) entry {
	return entry{
		Path:        f.Path,
		Owner:       "root:root",
		Permissions: fmt.Sprintf("%04o", f.Mode.Perm()),
		Encoding:    "base64",
		Content:     base64.StdEncoding.EncodeToString(f.Content),
	}
}

// entries are the lines of our items for write_files and for runcmd.
func entries(files []payload.File, unit string) (fileLines, commandLines []string, err error) {
	items := make([]entry, 0, len(files))
	for _, f := range files {
		items = append(items, newEntry(f))
	}
	if fileLines, err = render(items); err != nil {
		return nil, nil, fmt.Errorf("rendering %s: %w", writeFiles, err)
	}
	if commandLines, err = render([]string{Command(unit)}); err != nil {
		return nil, nil, fmt.Errorf("rendering %s: %w", runcmd, err)
	}
	return fileLines, commandLines, nil
}

func render(list any) ([]string, error) {
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(list); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), encoder.Close()
}
