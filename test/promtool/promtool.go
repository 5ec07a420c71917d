// Package promtool asks Prometheus' own tool about what this project makes. test/kubernetes/install-packages.sh installs it.
package promtool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
)

// CheckMetrics reports what promtool has against metrics in Prometheus' text format: what cannot be read, and names and texts that are
// not as the conventions of Prometheus ask. A missing promtool is an error.
func CheckMetrics(ctx context.Context, metrics []byte) error {
	return run(ctx, bytes.NewReader(metrics), "check", "metrics")
}

// CheckConfig reports what promtool has against a configuration of Prometheus. Files that it names need not be there.
func CheckConfig(ctx context.Context, file string) error {
	return run(ctx, nil, "check", "config", "--syntax-only", file)
}

func run(ctx context.Context, in io.Reader, args ...string) error {
	cmd := exec.CommandContext(ctx, "promtool", args...)
	cmd.Stdin = in
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("promtool %v, of Debian's package prometheus, which test/kubernetes/install-packages.sh installs: %w: %s", args, err, said)
	}
	return nil
}
