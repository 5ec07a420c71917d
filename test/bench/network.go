package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	nodeAddress     = "10.99.0.1"
	upstreamAddress = "10.99.0.2"
	nodeDevice      = "node0"
	upstreamDevice  = "upstream0"

	// cachePort and nodePort are two doors to the same upstream, so that the caches' way can break and the nodes' not.
	cachePort = 5000
	nodePort  = 5001

	// shapedRate is that of the shaped runs, in tc's words.
	shapedRate = "50mbit"
)

// network is a pair of namespaces: nodes and caches are in that of the program, the upstream is in the other.
type network struct {
	upstream *os.File // its namespace
}

// newNetwork makes the upstream's namespace and a link to it.
func newNetwork(ctx context.Context) (*network, error) {
	file, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("making the upstream's network namespace: %w", err)
	}
	n := &network{upstream: file}
	handle := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
	for _, arguments := range [][]string{
		{"link", "add", nodeDevice, "type", "veth", "peer", "name", upstreamDevice},
		{"link", "set", upstreamDevice, "netns", handle},
		{"address", "add", nodeAddress + "/24", "dev", nodeDevice},
		{"link", "set", nodeDevice, "up"},
	} {
		if err := run(ctx, "ip", arguments...); err != nil {
			return nil, err
		}
	}
	err = n.inUpstream(func() error {
		for _, arguments := range [][]string{
			{"address", "add", upstreamAddress + "/24", "dev", upstreamDevice},
			{"link", "set", upstreamDevice, "up"},
			{"link", "set", "lo", "up"},
		} {
			if err := run(ctx, "ip", arguments...); err != nil {
				return err
			}
		}
		return checkIsolation(ctx)
	})
	if err != nil {
		return nil, err
	}
	return n, checkIsolation(ctx)
}

// newNamespace makes a network namespace that lives as long as the file.
func newNamespace() (*os.File, error) {
	var file *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return file, err
}

// inUpstream runs do, and what it starts, in the upstream's namespace.
func (n *network) inUpstream(do func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.upstream.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the upstream's network namespace: %w", err)
		}
		return do()
	})
}

// onThread runs do on a thread that nothing else uses afterwards.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- do()
	}()
	return <-done
}

// listen opens a port of the upstream.
func (n *network) listen(port int) (net.Listener, error) {
	var listener net.Listener
	err := n.inUpstream(func() error {
		var err error
		listener, err = net.Listen("tcp", net.JoinHostPort(upstreamAddress, strconv.Itoa(port)))
		return err
	})
	return listener, err
}

// drop makes packets from and to a port of the upstream vanish, or no longer. It covers open connections.
func (n *network) drop(ctx context.Context, port int, drop bool) error {
	change := "-D"
	if drop {
		change = "-I"
	}
	number := strconv.Itoa(port)
	return n.inUpstream(func() error {
		err := run(ctx, "iptables", "-w", "10", change, "INPUT", "-p", "tcp", "--dport", number, "-j", "DROP")
		if err != nil {
			return err
		}
		return run(ctx, "iptables", "-w", "10", change, "OUTPUT", "-p", "tcp", "--sport", number, "-j", "DROP")
	})
}

// shape limits what the upstream sends to shapedRate, or no longer.
func (n *network) shape(ctx context.Context, shaped bool) error {
	return n.inUpstream(func() error {
		if !shaped {
			return run(ctx, "tc", "qdisc", "delete", "dev", upstreamDevice, "root")
		}
		return run(ctx, "tc", "qdisc", "add", "dev", upstreamDevice, "root", "tbf", "rate", shapedRate, "burst", "256kb", "latency", "400ms")
	})
}
