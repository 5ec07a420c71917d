// Command generate writes the alerts into a folder, as a file of rules and as PrometheusRules, and the dashboard.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/templates/monitoring"
)

const header = "# %s Written by make generate from templates/monitoring; do not edit.\n"

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
	rules, err := encode(monitoring.Rules())
	if err != nil {
		return err
	}
	if err := write(folder, "rules.yaml", "All alerts, for rule_files of Prometheus: docs/alerts.md.", rules); err != nil {
		return err
	}
	objects, err := encode(monitoring.PrometheusRules()...)
	if err != nil {
		return err
	}
	about := "The alerts for the Prometheus Operator: the first object for workload clusters, the second for the management cluster (docs/alerts.md)."
	if err := write(folder, "prometheusrule.yaml", about, objects); err != nil {
		return err
	}
	dashboard, err := monitoring.Dashboard()
	if err != nil {
		return err
	}
	return save(folder, "dashboard.json", dashboard)
}

// encode makes a stream of YAML documents.
func encode[T any](documents ...T) ([]byte, error) {
	var content bytes.Buffer
	encoder := yaml.NewEncoder(&content)
	encoder.SetIndent(2)
	for _, document := range documents {
		if err := encoder.Encode(document); err != nil {
			return nil, fmt.Errorf("encoding the alerts: %w", err)
		}
	}
	return content.Bytes(), encoder.Close()
}

// write writes a file with a comment at its head.
func write(folder, name, about string, content []byte) error {
	return save(folder, name, append(fmt.Appendf(nil, header, about), content...))
}

func save(folder, name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil { //nolint:gosec // a file of the repository
		return fmt.Errorf("writing what was generated: %w", err)
	}
	return nil
}
