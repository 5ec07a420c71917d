package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/preview"
)

const injectCommand = "inject"

// Exit codes of inject.
const (
	exitInjected      = 0
	exitBadUsage      = 1
	exitPassedThrough = 3
)

// errPassedThrough ends the command with its own exit code.
var errPassedThrough = errors.New("passed through")

// inject shows what the webhook would make of the bootstrap data on in, and returns the exit code.
func inject(args []string, in io.Reader, out, messages io.Writer) int {
	command := newInjectCommand()
	command.SetArgs(args)
	command.SetIn(in)
	command.SetOut(out)
	command.SetErr(messages)
	err := command.Execute()
	switch {
	case err == nil:
		return exitInjected
	case errors.Is(err, errPassedThrough):
		return exitPassedThrough
	}
	_, _ = fmt.Fprintln(messages, "Error:", err)
	return exitBadUsage
}

func newInjectCommand() *cobra.Command {
	var (
		manifests, format string
		limits            preview.Limits
	)
	command := &cobra.Command{
		Use:   injectCommand + " -f MANIFESTS < USER-DATA > RESULT",
		Short: "Show what a new Machine's bootstrap data would become",
		Long: `Show what a new Machine's bootstrap data would become.

MANIFESTS is a YAML file with a RegistryCache and its Cluster; other objects in it are ignored. Caches without an address in the
status get those that the controller would choose. The data comes from standard input and goes to standard output, with a line
about it on standard error. No cluster is asked.

The exit code is 0 if the caches were injected, 3 if the data was passed through unchanged, and 1 for everything else.`,
		Example: `  kubectl get registrycache,cluster my-cluster -o yaml > manifests.yaml
  kubectl get secret my-machine-bootstrap -o go-template='{{.data.value | base64decode}}' |
    manager inject -f manifests.yaml > user-data`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(command *cobra.Command, _ []string) error {
			return show(command, manifests, format, limits)
		},
	}
	command.Flags().StringVarP(&manifests, "filename", "f", "", "The file with the RegistryCache and its Cluster.")
	command.Flags().StringVar(&format, "format", "", "What the bootstrap provider calls the data, such as cloud-config or ignition. It is recognised without.")
	limits.AddFlags(command.Flags())
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err) //nolint:forbidigo // the flag is defined above
	}
	return command
}

func show(command *cobra.Command, path, format string, limits preview.Limits) error {
	cluster, rc, err := preview.ReadManifests(path)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(command.InOrStdin())
	if err != nil {
		return fmt.Errorf("reading the bootstrap data: %w", err)
	}
	result, err := preview.Inject(cluster, rc, data, format, limits)
	if err != nil {
		return err
	}
	if _, err := command.OutOrStdout().Write(result.Data); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	_, _ = fmt.Fprintln(command.ErrOrStderr(), preview.Summary(result, len(data), limits))
	if !result.Injected {
		return errPassedThrough
	}
	return nil
}
