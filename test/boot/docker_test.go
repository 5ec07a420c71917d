//go:build e2e

package boot

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// docker runs the Docker command line and returns what it printed to standard output. The error holds the rest.
func docker(ctx context.Context, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}
