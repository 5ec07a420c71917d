package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// Values of --output.
const (
	outputTable = ""
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// Colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func checkOutput(value string, accepted ...string) error {
	for _, a := range accepted {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("--output: %q is not known; accepted are %s, or nothing", value, strings.Join(accepted[1:], ", "))
}

// terminal tells whether somebody looks at what is written, who may be shown colours and progress.
func terminal(out io.Writer) bool {
	return isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// isTerminal tells whether one of the standard streams is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // it is a small number
}

// harmless leaves out what would steer a terminal: workload clusters have a say in what is told. Lines and tabs stay.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

func coloured(out io.Writer, colour, text string) string {
	if colour == "" || !terminal(out) {
		return text
	}
	return colour + text + plain
}

// printObject writes JSON or YAML.
func printObject(out io.Writer, format string, object any) error {
	content, err := json.MarshalIndent(object, "", "  ")
	if err == nil && format == outputYAML {
		content, err = yaml.JSONToYAML(content)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", format, err)
	}
	return write(out, strings.TrimRight(string(content), "\n")+"\n")
}

// column is one of a table; a wide one is shown only if that is asked for.
type column struct {
	name string
	wide bool
}

// printTable writes a table as kubectl does. Colours has one for each row, "" for none.
func printTable(out io.Writer, wide bool, columns []column, rows [][]string, colours []string) error {
	table := &metav1.Table{}
	for _, c := range columns {
		definition := metav1.TableColumnDefinition{Name: c.name, Type: "string"}
		if c.wide {
			definition.Priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, definition)
	}
	for _, row := range rows {
		cells := make([]any, 0, len(row))
		for _, cell := range row {
			cells = append(cells, harmless(cell))
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	var text bytes.Buffer
	if err := printers.NewTablePrinter(printers.PrintOptions{Wide: wide}).PrintObj(table, &text); err != nil {
		return fmt.Errorf("writing a table: %w", err)
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	for i, line := range lines {
		colour := ""
		if i > 0 && i <= len(colours) {
			colour = colours[i-1]
		}
		lines[i] = coloured(out, colour, strings.TrimRight(line, " "))
	}
	return write(out, strings.Join(lines, "\n")+"\n")
}

// byteSize is a size as people write it.
func byteSize(size int64) string {
	const unit = 1024
	sign, rest := "", float64(size)
	if size < 0 {
		sign, rest = "-", -rest
	}
	names := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for rest >= unit && i < len(names)-1 {
		rest, i = rest/unit, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%s%.0f B", sign, rest)
	}
	return fmt.Sprintf("%s%.1f %s", sign, rest, names[i])
}

func percent(ratio *float64) string {
	if ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100**ratio)
}
