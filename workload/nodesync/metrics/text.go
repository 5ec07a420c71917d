package metrics

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ContentType is that of Text.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// Text collects samples, and writes those of a metric together.
type Text struct {
	samples map[string][]string
	err     error
}

// Add adds a sample. There has to be one value for each label of the metric, in their order; Write tells if there was not.
func (t *Text) Add(m Metric, value float64, labels ...string) {
	if len(labels) != len(m.Labels) {
		t.err = fmt.Errorf("%s: %d values of labels given; accepted are %d, of %v", m.Name, len(labels), len(m.Labels), m.Labels)
		return
	}
	var pairs []string
	for i, name := range m.Labels {
		pairs = append(pairs, name+`="`+escapeLabel.Replace(strings.ToValidUTF8(labels[i], "\uFFFD"))+`"`)
	}
	line := m.Name
	if len(pairs) > 0 {
		line += "{" + strings.Join(pairs, ",") + "}"
	}
	if t.samples == nil {
		t.samples = map[string][]string{}
	}
	t.samples[m.Name] = append(t.samples[m.Name], line+" "+strconv.FormatFloat(value, 'g', -1, 64)+"\n")
}

// Write writes all samples in Prometheus' text format; metrics without any are left out.
func (t *Text) Write(w io.Writer) error {
	if t.err != nil {
		return t.err
	}
	for _, m := range All {
		samples := t.samples[m.Name]
		if len(samples) == 0 {
			continue
		}
		_, err := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s", m.Name, escapeHelp.Replace(m.Help), m.Name, m.Type, strings.Join(samples, ""))
		if err != nil {
			return err
		}
	}
	return nil
}
