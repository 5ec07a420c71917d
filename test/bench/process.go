package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that runs until it is stopped or killed.
type process struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
	err     error // how it ended
}

// start runs a program in a small environment, with its output appended to the file log.
func start(log string, program string, arguments ...string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	defer output.Close() //nolint:errcheck // the program has its own handle
	p := &process{command: exec.Command(program, arguments...), log: log, ended: make(chan struct{})}
	// No proxy, no service links; and a stock registry would trace to a collector on localhost.
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "OTEL_TRACES_EXPORTER=none"}
	p.command.Stdout, p.command.Stderr = output, output
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

// stop asks the process to end, and kills it after patience.
func (p *process) stop(patience time.Duration) {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
	}
}

// kill ends the process at once, as kill -9 does.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// errEnded is wrapped when a process ends instead of serving.
var errEnded = errors.New("the process ended")

// ready waits until url answers 200, and returns how long that took.
func (p *process) ready(ctx context.Context, url string, transport http.RoundTripper) (time.Duration, error) {
	begun := time.Now()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		if response, err := transport.RoundTrip(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(begun), nil
			}
		}
		select {
		case <-p.ended:
			return time.Since(begun), fmt.Errorf("%w: %s", errEnded, p.lastWords())
		case <-ctx.Done():
			return time.Since(begun), ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lastWords is the line of the log that says why a process ended.
func (p *process) lastWords() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "panic:") || strings.HasPrefix(lines[i], "Error:") || strings.Contains(lines[i], "level=fatal") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// usage is what a process has used so far.
type usage struct {
	CPU       time.Duration // user and system
	Anonymous int64         // bytes, RssAnon
	Peak      int64         // bytes, VmHWM: with mapped files
}

// clockTick is that of /proc on all architectures of Linux.
const clockTick = time.Second / 100

// usage reads /proc/PID/stat and /proc/PID/status.
func (p *process) usage() (usage, error) {
	var u usage
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err != nil {
		return u, fmt.Errorf("reading what a process used: %w", err)
	}
	// The second field is a name in parentheses; utime and stime are the 14th and 15th.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("reading what a process used: %q has too few fields", content)
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("reading what a process used: %w", err)
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	content, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return u, fmt.Errorf("reading what a process used: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		var kilobytes int64
		if _, err := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &kilobytes); err == nil {
			u.Anonymous = kilobytes << 10
		}
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kilobytes); err == nil {
			u.Peak = kilobytes << 10
		}
	}
	return u, lines.Err()
}
