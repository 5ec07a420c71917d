package command

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/preview"
)

// previewOptions are the flags of preview.
type previewOptions struct {
	manifests, data, format string
	diff                    bool
	limits                  preview.Limits
}

func (p *plugin) preview(called string) *cobra.Command {
	o := &previewOptions{}
	c := &cobra.Command{
		Use:   "preview [CLUSTER]",
		Short: "Show what a new Machine's bootstrap data would become",
		Long: `Show what a new Machine's bootstrap data would become.

The RegistryCache and the Cluster are those of a name, or those in a YAML file; with a file no cluster is asked. Caches without an address in the
status get those that the controller would choose. The data comes from a file or from standard input and goes to standard output, with a
line about it on standard error.

The exit code is 0 if the caches were injected, 3 if the data was passed through unchanged, and 1 for everything else.`,
		Example: examples(called, "PLUGIN preview my-cluster --data user-data --diff",
			"kubectl get secret my-machine-bootstrap -o go-template='{{.data.value | base64decode}}' |", "  PLUGIN preview -f manifests.yaml > user-data"),
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.showPreview(c.Context(), strings.Join(args, ""), o)
		},
	}
	c.Flags().StringVarP(&o.manifests, "filename", "f", "", "File with the RegistryCache and its Cluster, instead of a name.")
	c.Flags().StringVar(&o.data, "data", "-", "File with the bootstrap data; - is standard input.")
	c.Flags().StringVar(&o.format, "format", "", "What the bootstrap provider calls the data, such as cloud-config or ignition. It is recognised without.")
	c.Flags().BoolVar(&o.diff, "diff", false, "Show what changes instead of the result. Compressed data is shown as it is inside.")
	o.limits.AddFlags(c.Flags())
	return c
}

func (p *plugin) showPreview(ctx context.Context, name string, o *previewOptions) error {
	cluster, rc, err := p.previewed(ctx, name, o.manifests)
	if err != nil {
		return err
	}
	data, err := p.readData(o.data)
	if err != nil {
		return err
	}
	result, err := preview.Inject(cluster, rc, data, o.format, o.limits)
	if err != nil {
		return err
	}
	shown := string(result.Data)
	if o.diff {
		if shown, err = difference(data, result.Data); err != nil {
			return err
		}
	}
	if err := write(p.Out, shown); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	p.warn("%s", preview.Summary(result, len(data), o.limits))
	if !result.Injected {
		return errPassedThrough
	}
	return nil
}

// previewed are the Cluster and its RegistryCache.
func (p *plugin) previewed(ctx context.Context, name, file string) (*clusterv1.Cluster, *v1alpha1.RegistryCache, error) {
	if (name == "") == (file == "") {
		return nil, nil, fmt.Errorf("CLUSTER %q and --filename %q: accepted is one of both", name, file)
	}
	if file != "" {
		return preview.ReadManifests(file)
	}
	management, namespace, err := p.management()
	if err != nil {
		return nil, nil, err
	}
	cluster, rc := &clusterv1.Cluster{}, &v1alpha1.RegistryCache{}
	for _, object := range []client.Object{cluster, rc} {
		if err := management.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			return nil, nil, fmt.Errorf("reading Cluster and RegistryCache %s/%s: %w", namespace, name, err)
		}
	}
	return cluster, rc, nil
}

func (p *plugin) readData(name string) ([]byte, error) {
	var data []byte
	var err error
	if name == "-" {
		if isTerminal(p.In) {
			return nil, errors.New("standard input is a terminal; accepted is --data FILE, or the bootstrap data on standard input")
		}
		data, err = io.ReadAll(p.In)
	} else {
		data, err = os.ReadFile(name) //nolint:gosec // the user names it
	}
	if err != nil {
		return nil, fmt.Errorf("reading the bootstrap data: %w", err)
	}
	return data, nil
}

func difference(before, after []byte) (string, error) {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(inside(before)), B: difflib.SplitLines(inside(after)), FromFile: "before", ToFile: "after", Context: 3,
	})
	if err != nil {
		return "", fmt.Errorf("comparing the data: %w", err)
	}
	return text, nil
}

// inside is the content of compressed data.
func inside(data []byte) string {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return string(data)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		return string(data)
	}
	return string(content)
}
