package main

import (
	"bufio"
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describe begins the report with the machine and the programs, without which no number means anything.
func (l *lab) describe() error {
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		return fmt.Errorf("asking for the kernel's version: %w", err)
	}
	l.report.text.WriteString("# This project's cache beside a stock registry\n")
	l.report.paragraph("Written by `go run ./test/bench`; what is measured, and how, stands there. \"Ours\" is this project's cache, \"stock\" is " +
		"distribution v3.1.2 as a pull-through cache, with the same configuration. Both ran in this one run, against the same upstream. " +
		"Upstream, caches and clients share the machine: only the comparison counts.")
	if l.quick {
		l.report.paragraph("**This was a run with -quick: its sizes are too small for conclusions.**")
	}
	rows := [][]string{{"", ""},
		{"measured", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"machine", fmt.Sprintf("%d cores, %s, Linux %s", runtime.NumCPU(), processor(), unix.ByteSliceToString(system.Release[:]))},
		{"harness", runtime.Version()},
	}
	for _, binary := range []struct{ name, path string }{
		{"ours", l.workload}, {"stock", l.options.stock}, {"containerd", l.containerd},
	} {
		description, err := describeBinary(binary.path)
		if err != nil {
			return err
		}
		rows = append(rows, []string{binary.name, description})
	}
	l.report.table(rows)
	return nil
}

func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer file.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, found := strings.CutPrefix(lines.Text(), "model name\t: "); found {
			return name
		}
	}
	return runtime.GOARCH
}

// describeBinary names a program's module, version, compiler and what makes it slow.
func describeBinary(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading what %s was built from: %w", path, err)
	}
	description := fmt.Sprintf("%s %s, %s", info.Path, info.Main.Version, info.GoVersion)
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" {
			description += ", with the race detector"
		}
	}
	return description, nil
}
