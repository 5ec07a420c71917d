package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

type options struct {
	only                             []string
	out, dir                         string
	quick, ratios                    bool
	workload, stock, containerd, ctr string
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(2)
	}
	dir, inside := os.LookupEnv(insideVariable)
	status := 0
	if inside {
		err = measure(o, dir)
	} else {
		status, err = enter(o.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func parse(arguments []string) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.StringVar(&only, "only", "", "the parts to run, such as b1,b3; all without it")
	flags.StringVar(&o.out, "out", "", "the file for the report; standard output without it")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "a directory on a disk with about 20 GB of space, for a directory that is removed in the end")
	flags.BoolVar(&o.quick, "quick", false, "measure less, to see whether everything works")
	flags.BoolVar(&o.ratios, "ratios", true, "hold ours to the stock registry's speed; not useful with a build for the race detector")
	flags.StringVar(&o.workload, "workload", "bin/workload", "this project's cache")
	flags.StringVar(&o.stock, "stock", "bin/kubernetes/bin/registry", "the stock registry: distribution v3.1.2")
	flags.StringVar(&o.containerd, "containerd", "bin/kubernetes/bin/containerd", "containerd, with its shim beside it")
	flags.StringVar(&o.ctr, "ctr", "bin/kubernetes/bin/ctr", "containerd's client")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for _, path := range []*string{&o.workload, &o.stock, &o.containerd, &o.ctr} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return o, err
		}
		if info, err := os.Stat(absolute); err != nil || info.IsDir() {
			return o, fmt.Errorf("%s is not a program; `make build runtime-binaries` makes all four, or name another one by its flag", *path)
		}
		*path = absolute
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return o, fmt.Errorf("-only: %q is no part; accepted are b1 to b7, separated by commas", name)
		}
	}
	return o, nil
}

type part struct {
	name string
	run  func(*lab, context.Context) error
}

var parts = []part{
	{"b1", (*lab).b1}, {"b2", (*lab).b2}, {"b3", (*lab).b3}, {"b4", (*lab).b4},
	{"b5", (*lab).b5}, {"b6", (*lab).b6}, {"b7", (*lab).b7},
}

// measure runs the parts inside the namespaces. A part that cannot be run ends everything; a broken bound does not.
func measure(o options, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := settle(ctx); err != nil {
		return fmt.Errorf("leaving the machine's network: %w", err)
	}
	l, err := newLab(ctx, o, dir)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.describe(); err != nil {
		return err
	}
	for _, p := range parts {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		progress("%s", p.name)
		if err := p.run(l, ctx); err != nil {
			progress("what was measured until then:\n%s", l.report)
			return fmt.Errorf("running %s: %w", p.name, err)
		}
	}
	return l.finish()
}

// finish writes the report, and is an error if a bound was broken.
func (l *lab) finish() error {
	text := []byte(l.report.String())
	var err error
	if l.out == "" {
		_, err = os.Stdout.Write(text)
	} else {
		err = os.WriteFile(l.out, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if len(l.report.broken) == 0 {
		return nil
	}
	return fmt.Errorf("ours broke %d bounds:\n- %w", len(l.report.broken), errors.New(strings.Join(l.report.broken, "\n- ")))
}

// progress tells the one who waits.
func progress(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", values...)
}
