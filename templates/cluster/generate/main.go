// Command generate writes what is made from the CRD into a folder of cluster templates: the ClusterClass variable as a file of its own, and
// the same in the ClusterClass, between two marks.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/config/crd"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
)

const (
	variableFile = "registry-cache-variable.yaml"
	classFile    = "clusterclass.yaml"

	// The lines between these belong to the generator; they are indented as the first of them is.
	begin = "# begin: the variable registryCache, written by make generate"
	end   = "# end: the variable registryCache"
)

const header = `# The ClusterClass variable registryCache, with the schema of spec of RegistryCache: docs/clusterclass.md. Paste the entry into
# spec.variables of a ClusterClass. Written by make generate from the CRD; do not edit.
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate FOLDER")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(folder string) error {
	spec, err := crd.RegistryCacheSpec()
	if err != nil {
		return err
	}
	definition, dropped, err := cluster.Variable(spec)
	if err != nil {
		return err
	}
	entry, err := yaml.Marshal([]*clusterv1.ClusterClassVariable{definition})
	if err != nil {
		return fmt.Errorf("encoding the variable: %w", err)
	}
	if err := write(filepath.Join(folder, variableFile), header+notes(dropped)+"variables:\n"+string(entry)); err != nil {
		return err
	}
	return splice(filepath.Join(folder, classFile), entry)
}

// notes are comment lines about what a ClusterClass cannot carry.
func notes(dropped []string) string {
	text := "#\n# A ClusterClass cannot carry the following; the API server, and the runtime extension, check it nevertheless, but for rules about\n" +
		"# changes (with oldSelf), which only the API server checks. What it refuses is told in an Event about the Cluster.\n"
	for _, line := range dropped {
		text += "#   " + line + "\n"
	}
	return text
}

// splice replaces what is between the marks of a file.
func splice(path string, entry []byte) error {
	content, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("reading the ClusterClass: %w", err)
	}
	head, rest, found := strings.Cut(string(content), begin+"\n")
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	indent := head[strings.LastIndex(head, "\n")+1:]
	return write(path, head+begin+"\n"+indented(entry, indent)+indent+end+tail)
}

func indented(entry []byte, indent string) string {
	var text strings.Builder
	for _, line := range bytes.Split(bytes.TrimSuffix(entry, []byte("\n")), []byte("\n")) {
		if len(line) > 0 {
			text.WriteString(indent)
		}
		text.Write(line)
		text.WriteByte('\n')
	}
	return text.String()
}

func write(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // a file of the repository
		return fmt.Errorf("writing what was generated: %w", err)
	}
	return nil
}
