package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/doctor"
)

func (p *plugin) doctor(called string) *cobra.Command {
	var pull, node, output string
	c := &cobra.Command{
		Use:   "doctor CLUSTER",
		Short: "Find out what keeps a Cluster from using its caches",
		Long: `Find out what keeps a Cluster from using its caches.

It walks from the RegistryCache to a pull on a node, link by link, stops at the first that is broken, and says what to do. A link that
you may not look at is told with the right that is missing, and the walk goes on.

With --pull a node pulls an image once, and it is seen whether that went through the cache: a Pod is made for it, which runs nothing of the
image and is removed again. Nothing else is written to any cluster.

The exit code is 0 if no link is broken, and 1 if one is or if it cannot be known: if the workload cluster does not answer, or if the pull
that was asked for was not made.`,
		Example: examples(called, "PLUGIN doctor my-cluster", "PLUGIN doctor my-cluster --pull docker.io/library/alpine:3.22 --node my-cluster-md-0-x7k2p"),
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(output, outputTable, outputJSON, outputYAML); err != nil {
				return err
			}
			management, namespace, err := p.management()
			if err != nil {
				return err
			}
			return p.examine(c.Context(), output, doctor.Options{
				Management: management, Connect: p.connector(management), Cluster: client.ObjectKey{Namespace: namespace, Name: args[0]}, Pull: pull, Node: node, Kubectl: p.kubectl(),
			})
		},
	}
	c.Flags().StringVar(&pull, "pull", "", "Image to pull once, of an upstream that has a cache.")
	c.Flags().StringVar(&node, "node", "", "Node to look at. The default is all, and for --pull one that uses the cache.")
	c.Flags().StringVarP(&output, "output", "o", outputTable, "Format: json or yaml.")
	p.addWorkloadKubeconfig(c)
	return c
}

func (p *plugin) examine(ctx context.Context, output string, o doctor.Options) error {
	told := func(f doctor.Finding) { _ = write(p.Out, p.findingLines(f)) }
	if output != outputTable {
		told = func(doctor.Finding) {}
	}
	report, err := doctor.Run(ctx, o, told)
	if output != outputTable {
		if err := printObject(p.Out, output, report); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case !report.Healthy:
		return errBroken
	}
	return nil
}

// kubectl is how it is called for the same cluster.
func (p *plugin) kubectl() string {
	call := "kubectl"
	if p.rules.ExplicitPath != "" {
		call += " --kubeconfig " + p.rules.ExplicitPath
	}
	if p.overrides.CurrentContext != "" {
		call += " --context " + p.overrides.CurrentContext
	}
	return call
}

// findingLines is a line, and more of them for a remedy.
func (p *plugin) findingLines(f doctor.Finding) string {
	colour := map[doctor.State]string{doctor.OK: green, doctor.Broken: red, doctor.NotChecked: yellow}[f.State]
	const indent = 31
	text := fmt.Sprintf("%s  %-16s  %s\n", coloured(p.Out, colour, fmt.Sprintf("%-11s", f.State)), f.Link, indented(f.Message, indent))
	if f.Message == "" {
		text = strings.TrimRight(text, " \n") + "\n"
	}
	if f.Remedy != "" {
		text += fmt.Sprintf("%s%s\n", strings.Repeat(" ", 13)+fmt.Sprintf("%-18s", "what to do:"), indented(f.Remedy, indent))
	}
	return text
}

func indented(text string, by int) string {
	return strings.ReplaceAll(harmless(text), "\n", "\n"+strings.Repeat(" ", by))
}
