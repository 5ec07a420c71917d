package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/overview"
)

// longestCell is how much of a message fits into a table.
const longestCell = 100

func (p *plugin) status(called string) *cobra.Command {
	var all, savings bool
	var output string
	c := &cobra.Command{
		Use:   "status [CLUSTER]",
		Short: "Show how the caches of Clusters are",
		Long: `Show how the caches of Clusters are: one, or all of a namespace.

A line has the caches that serve, the nodes that use them, how many caches are pulled through, and what is wrong: the message of the
first condition that is not as it should be. It asks the management cluster alone, unless -o wide or --savings want to know how much the
caches save: they are in the workload clusters, and each is asked. What cannot be reached from here is shown as unknown.`,
		Example: examples(called, "PLUGIN status -A", "PLUGIN status my-cluster -o wide"),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(output, outputTable, outputWide, outputJSON, outputYAML); err != nil {
				return err
			}
			return p.showStatus(c.Context(), strings.Join(args, ""), all, savings || output == outputWide, output)
		},
	}
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Show the Clusters of all namespaces.")
	c.Flags().StringVarP(&output, "output", "o", outputTable, "Format: wide, json or yaml. Wide asks the caches what they save.")
	c.Flags().BoolVar(&savings, "savings", false, "Ask the caches what they save.")
	p.addWorkloadKubeconfig(c)
	return c
}

func (p *plugin) showStatus(ctx context.Context, name string, all, savings bool, output string) error {
	if name != "" && all {
		return fmt.Errorf("--all-namespaces with the name %q: accepted is one of both", name)
	}
	if name == "" && p.workloadKubeconfig != "" { // each Cluster would be shown with what the caches of one save
		return fmt.Errorf("--workload-kubeconfig %q without the name of a Cluster: accepted is one with it, as in status my-cluster --workload-kubeconfig FILE", p.workloadKubeconfig)
	}
	management, namespace, err := p.management()
	if err != nil {
		return err
	}
	if all {
		namespace = ""
	}
	rows, err := overview.List(ctx, management, namespace, name)
	if err != nil {
		return err
	}
	if savings {
		p.count(ctx, management, rows)
	}
	if output == outputJSON || output == outputYAML {
		return printObject(p.Out, output, map[string]any{"clusters": rows})
	}
	if len(rows) == 0 {
		p.warn("There is no RegistryCache%s.", where(namespace))
		return nil
	}
	return p.printStatus(rows, all, savings, time.Now())
}

func where(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// count asks the caches, and tells of progress who looks.
func (p *plugin) count(ctx context.Context, management client.Client, rows []overview.Row) {
	progress, end := func(int) {}, func() {}
	if terminal(p.ErrOut) {
		progress = func(done int) {
			_, _ = fmt.Fprintf(p.ErrOut, "\rasking the caches of Clusters: %d of %d", done, len(rows))
		}
		end = func() { _, _ = fmt.Fprint(p.ErrOut, "\r\x1b[K") }
	}
	errs := overview.Count(ctx, rows, p.connector(management), progress)
	end()
	for _, err := range errs {
		p.warn("Warning: %v", err)
	}
}

func (p *plugin) printStatus(rows []overview.Row, all, wide bool, now time.Time) error {
	columns := []column{{name: "Cluster"}, {name: "Ready"}, {name: "Upstreams"}, {name: "Caches"}, {name: "Nodes"}, {name: "In use"},
		{name: "Hit ratio", wide: true}, {name: "Saved", wide: true}, {name: "Age"}, {name: "Message"}}
	if all {
		columns = append([]column{{name: "Namespace"}}, columns...)
	}
	var cells [][]string
	var colours []string
	for _, row := range rows {
		line := statusCells(row, wide, now)
		if all {
			line = append([]string{row.Namespace}, line...)
		}
		cells, colours = append(cells, line), append(colours, map[string]string{
			string(metav1.ConditionFalse): red, string(metav1.ConditionUnknown): yellow,
		}[row.Ready])
	}
	return printTable(p.Out, wide, columns, cells, colours)
}

func statusCells(row overview.Row, wide bool, now time.Time) []string {
	ready, nodes, used, saved := row.Ready, "-", "-", "-"
	if row.Paused {
		ready += " (paused)"
	}
	if row.Nodes != nil && row.NodesConfigured != nil {
		nodes = fmt.Sprintf("%d/%d", *row.NodesConfigured, *row.Nodes)
	}
	if row.InUse != nil {
		used = fmt.Sprintf("%d/%d", *row.InUse, *row.InUseKnown)
	}
	if row.SavedBytes != nil {
		saved = byteSize(*row.SavedBytes)
	}
	message := strings.Join(strings.Fields(row.Message), " ")
	if runes := []rune(message); !wide && len(runes) > longestCell {
		message = string(runes[:longestCell-1]) + "…"
	}
	return []string{
		row.Name, ready, strings.Join(row.Upstreams, ","), fmt.Sprintf("%d/%d", row.CachesReady, row.Caches), nodes, used,
		percent(row.HitRatio), saved, duration.HumanDuration(now.Sub(row.Created.Time)), message,
	}
}
