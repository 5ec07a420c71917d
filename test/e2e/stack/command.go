package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// output runs a program and returns what it printed to standard output, without spaces around it. The error holds
// the end of what it printed to standard error.
func output(ctx context.Context, name string, args ...string) (string, error) {
	return feed(ctx, nil, name, args...)
}

// feed is output for a program that reads its standard input.
func feed(ctx context.Context, in io.Reader, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("running %s %s: %w: %s", name, shorten(strings.Join(args, " "), 160), err, tail(errs.String(), 2000))
	}
	return strings.TrimSpace(out.String()), err
}

// docker runs the Docker command line.
func docker(ctx context.Context, args ...string) (string, error) {
	return output(ctx, "docker", args...)
}

// Docker runs the Docker command line for specs that need no cluster; in may be nil.
func Docker(ctx context.Context, in io.Reader, args ...string) (string, error) {
	return feed(ctx, in, "docker", args...)
}

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}

func tail(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	return "…" + s[len(s)-limit:]
}

// buildProgram builds a static program of this module.
func buildProgram(ctx context.Context, root, pkg, target string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", target, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, tail(string(out), 2000))
	}
	return nil
}
