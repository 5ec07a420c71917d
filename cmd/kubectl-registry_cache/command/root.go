package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
)

// Exit codes. Those of preview are those of `manager inject`.
const (
	exitOK            = 0
	exitFailed        = 1
	exitPassedThrough = 3
)

var (
	// errBroken ends doctor after it has told everything.
	errBroken = errors.New("broken")
	// errPassedThrough ends preview with its own exit code.
	errPassedThrough = errors.New("passed through")
)

// plugin is what all commands have in common.
type plugin struct {
	genericiooptions.IOStreams
	// rules and overrides say where the management cluster is, by the flags that kubectl has for it.
	rules     *clientcmd.ClientConfigLoadingRules
	overrides *clientcmd.ConfigOverrides
	// workloadKubeconfig is a file to be taken instead of the Secret of a Cluster.
	workloadKubeconfig string
}

// Run runs the command that the arguments name, and returns the exit code. The first argument is how the program was called.
func Run(args []string, streams genericiooptions.IOStreams) int {
	// Libraries would write between the lines.
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, hearNoMore)()
	root := New(streams, called(args[0]))
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPassedThrough):
		return exitPassedThrough
	case !errors.Is(err, errBroken):
		_, _ = fmt.Fprintln(streams.ErrOut, "Error:", harmless(err.Error()))
	}
	return exitFailed
}

// hearNoMore gives a second interrupt its usual meaning, as not all that is waited for can be broken off by the first. A terminal that is closed hangs
// up more than once, so hangups stay without one: the Pod of doctor is still to be removed.
func hearNoMore() { signal.Reset(os.Interrupt, syscall.SIGTERM) }

// called is how a user calls a program of this name: clusterctl runs plugins as kubectl does.
func called(program string) string {
	name := strings.TrimSuffix(filepath.Base(program), ".exe")
	if host, ok := strings.CutSuffix(name, "-registry_cache"); ok {
		return host + " registry-cache"
	}
	return "kubectl registry-cache"
}

// New returns the commands, for help to be shown with what the user types.
func New(streams genericiooptions.IOStreams, called string) *cobra.Command {
	p := &plugin{IOStreams: streams, rules: clientcmd.NewDefaultClientConfigLoadingRules(), overrides: &clientcmd.ConfigOverrides{}}
	root := &cobra.Command{
		Use:           "kubectl-registry_cache",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: called},
		Short:         "Registry caches of Clusters: how they are, what they save, and what is wrong",
		Long:          "Registry caches of Clusters: how they are, what they save, and what is wrong.\n\nThe kubeconfig is that of the management cluster. Everything is asked with your own rights.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	p.addFlags(root)
	root.AddCommand(p.status(called), p.savings(called), p.doctor(called), p.preview(called))
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// addFlags adds those of kubectl that say which API server is asked, and as whom. The rare ones work and are not shown.
func (p *plugin) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&p.rules.ExplicitPath, "kubeconfig", "", "File with the kubeconfig of the management cluster. The default is that of kubectl.")
	clientcmd.BindOverrideFlags(p.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	shown := []string{"kubeconfig", "context", "namespace", "as", "request-timeout"}
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
}

// management reaches the management cluster, with the namespace of the flags or of the kubeconfig.
func (p *plugin) management() (client.Client, string, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(p.rules, p.overrides)
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	management, err := reach.Management(config)
	return management, namespace, err
}

// connector reaches workload clusters.
func (p *plugin) connector(management client.Client) func(context.Context, client.ObjectKey) (*reach.Workload, error) {
	return func(ctx context.Context, cluster client.ObjectKey) (*reach.Workload, error) {
		return reach.Connect(ctx, management, cluster, p.workloadKubeconfig)
	}
}

func (p *plugin) addWorkloadKubeconfig(c *cobra.Command) {
	c.Flags().StringVar(&p.workloadKubeconfig, "workload-kubeconfig", "", "File with the kubeconfig of the workload cluster. The default is the one that Cluster API keeps in a Secret.")
}

// examples puts how the plugin is called into examples.
func examples(called string, lines ...string) string {
	for i, line := range lines {
		lines[i] = "  " + strings.ReplaceAll(line, "PLUGIN", called)
	}
	return strings.Join(lines, "\n")
}

func (p *plugin) warn(format string, args ...any) {
	_, _ = fmt.Fprintln(p.ErrOut, harmless(fmt.Sprintf(format, args...)))
}

func write(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	return err
}
