// Package metrics reads docs/metrics.md, the page that generate writes from the metrics that are registered, and holds what a program
// really serves against it.
package metrics

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// File is the page, below the root of the repository.
var File = filepath.Join("docs", "metrics.md")

// Programs, by the headings of the page.
const (
	Cache    = "Caches"
	NodeSync = "node-sync"
	Manager  = "Manager"
)

// Metric is a row of a table.
type Metric struct {
	Program, Name, Type string
	// Labels are the names of its labels, sorted.
	Labels []string
	// When is when there are series of it: "" from the start, "once …" from something on, "while …" for some time.
	When string
}

// Passing tells whether the metric comes and goes.
func (m Metric) Passing() bool { return strings.HasPrefix(m.When, "while ") }

var (
	ours  = regexp.MustCompile(`^(capi_registry_cache|registry_cache|registry_proxy)_`)
	label = regexp.MustCompile("`([a-z_]+)`(?:,|$| \\()")
)

// Read reads the page of the repository at root.
func Read(root string) ([]Metric, error) {
	content, err := os.ReadFile(filepath.Join(root, File))
	if err != nil {
		return nil, fmt.Errorf("reading the documented metrics: %w", err)
	}
	var all []Metric
	program := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			program = title
		}
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if name := strings.Trim(cells[0], "` "); ours.MatchString(name) && len(cells) == 6 {
			m := Metric{Program: program, Name: name, Type: strings.TrimSpace(cells[1]), When: strings.TrimSpace(cells[3])}
			for _, match := range label.FindAllStringSubmatch(valuesOfLabels.ReplaceAllString(cells[2], ""), -1) {
				m.Labels = append(m.Labels, match[1])
			}
			slices.Sort(m.Labels)
			all = append(all, m)
		}
	}
	return all, nil
}

// valuesOfLabels are in parentheses behind a label.
var valuesOfLabels = regexp.MustCompile(` \([^)]*\)`)

// Of are the metrics of a program, by name.
func Of(all []Metric, program string) map[string]Metric {
	found := map[string]Metric{}
	for _, m := range all {
		if m.Program == program {
			found[m.Name] = m
		}
	}
	return found
}

// Compare holds what a program serves, in Prometheus' text format, against the page at root: whatever it has under a name of ours is
// documented, with this type and these labels. It returns the names of those documented that are not served.
func Compare(root, program string, served []byte) (missing []string, err error) {
	all, err := Read(root)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(served))
	if err != nil {
		return nil, fmt.Errorf("reading what %s serves: %w", program, err)
	}
	documented := Of(all, program)
	for name, family := range families {
		if !ours.MatchString(name) {
			continue
		}
		m, ok := documented[name]
		if !ok {
			return nil, fmt.Errorf("%s serves %s, which %s does not have", program, name, File)
		}
		if got := strings.ToLower(family.GetType().String()); got != m.Type {
			return nil, fmt.Errorf("%s is a %s, %s has a %s", name, got, File, m.Type)
		}
		if got := labelsOf(family); !slices.Equal(got, m.Labels) {
			return nil, fmt.Errorf("%s has the labels %v, in %s %v", name, got, File, m.Labels)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if families[name] == nil {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

func labelsOf(family *dto.MetricFamily) []string {
	var names []string
	for _, pair := range family.Metric[0].GetLabel() {
		names = append(names, pair.GetName())
	}
	slices.Sort(names)
	return names
}
