package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// Plugin runs the plugin of kubectl that `make build` made, as a user of the management cluster in the namespace of the Cluster. It returns
// what it printed and its exit code; an error is one of running it, or one that it tells with another exit code than 0 and 1.
func (c *Cluster) Plugin(ctx context.Context, args ...string) (out []byte, code int, err error) {
	var printed, messages bytes.Buffer
	args = append([]string{"--kubeconfig", c.stack.Kubeconfig(), "--namespace", c.Key().Namespace}, args...)
	cmd := exec.CommandContext(ctx, c.stack.paths.in("bin", "kubectl-registry_cache"), args...) //nolint:gosec // of this repository
	cmd.Stdout, cmd.Stderr = &printed, &messages
	err = cmd.Run()
	if exit := (&exec.ExitError{}); errors.As(err, &exit) && exit.ExitCode() == 1 && messages.Len() == 0 {
		return printed.Bytes(), 1, nil
	}
	if err != nil {
		return printed.Bytes(), -1, fmt.Errorf("running the plugin with %v: %w: %s", args, err, tail(messages.String(), 2000))
	}
	return printed.Bytes(), 0, nil
}
