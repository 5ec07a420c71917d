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
type Text struct{ samples map[string][]string }

// Add adds a sample. There is one value for each label of the metric, in their order.
func (t *Text) Add(m Metric, value float64, labels ...string) {
	if len(labels) != len(m.Labels) {
		panic(fmt.Sprintf("%s: %d values of labels given, it has %d labels", m.Name, len(labels), len(m.Labels)))
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
