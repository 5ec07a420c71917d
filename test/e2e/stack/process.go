package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processLog is the log of a process of the stack.
func (s *Stack) processLog(name string) string { return s.paths.state("processes", name+".log") }

func (s *Stack) processID(name string) string { return s.paths.state("processes", name+".pid") }

func (s *Stack) remember(name string, pid int) error {
	if err := os.WriteFile(s.processID(name), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("remembering process %d: %w", pid, err)
	}
	return nil
}

// runs tells whether the remembered process still is the program; numbers are given to others in time.
func (s *Stack) runs(name, program string) bool {
	pid, ok := s.pid(name)
	if !ok {
		return false
	}
	executable, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && strings.TrimSuffix(executable, " (deleted)") == s.paths.program(program)
}

func (s *Stack) pid(name string) (int, bool) {
	data, err := os.ReadFile(s.processID(name))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil && pid > 1
}

// stopProcess ends a process that this stack started, and no other.
func (s *Stack) stopProcess(ctx context.Context, name, program string) error {
	if !s.runs(name, program) {
		return nil
	}
	pid, _ := s.pid(name)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending %s: %w", name, err)
	}
	patience := time.After(10 * time.Second)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for s.runs(name, program) {
		select {
		case <-ticker.C:
		case <-patience:
			return syscall.Kill(pid, syscall.SIGKILL)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
