package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

const (
	// insideVariable tells the program that it is inside, and which directory it may use.
	insideVariable = "BENCH_DIRECTORY"

	// outside is an address of TEST-NET-1: nobody's, but routed wherever a default route leads.
	outside = "192.0.2.1:80"

	// leaveTimeout is what the program inside has for cleaning up after a signal.
	leaveTimeout = 20 * time.Second
)

// enter runs this program again, inside namespaces of its own, and returns its exit status. What that leaves behind ends
// with its process namespace; what it wrote below dir is removed here.
func enter(parent string) (status int, err error) {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return 1, fmt.Errorf("making a directory for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// The kernel ends the inner program with the thread that started it.
	runtime.LockOSThread()
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Env = append(os.Environ(), insideVariable+"="+dir)
	command.Stdin, command.Stdout, command.Stderr = nil, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a terminal's Ctrl-C reaches it once, through relay
	}
	if err := command.Start(); err != nil {
		return 1, fmt.Errorf("entering namespaces: %w; this needs root", err)
	}
	defer relay(command.Process)()
	err = command.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// relay hands on the signals that end this program, the last resort being a kill.
func relay(process *os.Process) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			_ = process.Signal(syscall.SIGTERM)
		}
		select {
		case <-ctx.Done():
		case <-time.After(leaveTimeout):
			_ = process.Kill()
		}
	}()
	return func() { signal.Stop(signals); cancel() }
}

// settle makes the fresh namespaces usable and checks that nothing leads out of them.
func settle(ctx context.Context) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	if len(interfaces) != 1 || interfaces[0].Flags&net.FlagLoopback == 0 {
		return fmt.Errorf("the network namespace has the interfaces %v; wanted is the loopback alone", interfaces)
	}
	if err := run(ctx, "ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	return checkIsolation(ctx)
}

// checkIsolation makes sure that the outside is refused by this machine itself.
func checkIsolation(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", outside)
	if err == nil {
		_ = connection.Close()
	}
	if !errors.Is(err, syscall.ENETUNREACH) {
		return fmt.Errorf("dialling %s: %v; wanted is that the network is unreachable", outside, fmt.Sprint(err))
	}
	return nil
}

// run runs a short command and puts what it said into the error.
func run(ctx context.Context, name string, arguments ...string) error {
	output, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, arguments, err, output)
	}
	return nil
}
