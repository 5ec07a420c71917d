package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

var errNoStrace = errors.New("strace is not installed")

// moving are the system calls that may carry content.
var moving = []string{"sendfile", "splice", "read", "pread64", "write", "writev", "copy_file_range"}

// calls counts system calls by name.
type calls map[string]int64

// moving is how many calls may have carried content to a client.
func (c calls) moving() int64 { return c["sendfile"] + c["splice"] + c["write"] + c["writev"] }

// String names those of them that were used.
func (c calls) String() string {
	var words []string
	for _, name := range moving {
		if c[name] > 0 {
			words = append(words, fmt.Sprintf("%s %d", name, c[name]))
		}
	}
	return strings.Join(words, ", ")
}

// traceCalls counts the system calls of a process and its threads while do runs.
func traceCalls(ctx context.Context, pid int, do func()) (calls, error) {
	program, err := exec.LookPath("strace")
	if err != nil {
		return nil, errNoStrace
	}
	command := exec.CommandContext(ctx, program, "-c", "-f", "-p", strconv.Itoa(pid))
	output, err := command.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("running strace: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("running strace: %w", err)
	}
	reader := bufio.NewReader(output)
	// It says so once it watches all threads that there were.
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "attached") {
		_ = command.Process.Kill()
		_ = command.Wait()
		return nil, fmt.Errorf("running strace: it said %q: %w", line, err)
	}
	do()
	_ = command.Process.Signal(syscall.SIGINT)
	found := readCalls(reader)
	_ = command.Wait() // it ends by the signal
	return found, ctx.Err()
}

// readCalls reads strace's table: % time, seconds, usecs/call, calls, errors if any, name.
func readCalls(table io.Reader) calls {
	found := calls{}
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if count, err := strconv.ParseInt(fields[3], 10, 64); err == nil {
			found[fields[len(fields)-1]] += count
		}
	}
	return found
}
