package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

const containerdPatience = 20 * time.Second

// node is a containerd of its own, as a node has one.
type node struct {
	lab     *lab
	dir     string
	process *process
}

// startContainerd runs a containerd without CRI, whose image store is used through ctr.
func (l *lab) startContainerd(ctx context.Context, name string) (*node, error) {
	n := &node{lab: l, dir: filepath.Join(l.dir, "containerd-"+name)}
	config, err := toml.Marshal(map[string]any{
		"version": 3, "root": filepath.Join(n.dir, "root"), "state": filepath.Join(n.dir, "state"),
		"grpc": map[string]any{"address": n.socket()},
		"disabled_plugins": []string{
			"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri",
		},
		"plugins": map[string]any{"io.containerd.internal.v1.opt": map[string]any{"path": filepath.Join(n.dir, "opt")}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding containerd's configuration: %w", err)
	}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making containerd's directory: %w", err)
	}
	path := filepath.Join(n.dir, "config.toml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return nil, fmt.Errorf("writing containerd's configuration: %w", err)
	}
	if n.process, err = start(filepath.Join(n.dir, "log"), l.containerd, "--config", path); err != nil {
		return nil, err
	}
	return n, n.ready(ctx)
}

func (n *node) socket() string { return filepath.Join(n.dir, "containerd.sock") }

func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, containerdPatience)
	defer cancel()
	for n.ctr(ctx, "version") != nil {
		select {
		case <-n.process.ended:
			return fmt.Errorf("starting containerd: %w: %s", errEnded, n.process.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("starting containerd: %w: %s", ctx.Err(), n.process.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (n *node) stop() { n.process.stop(stopPatience) }

func (n *node) ctr(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, n.lab.ctr, append([]string{"--address", n.socket()}, arguments...)...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}
	output, err := command.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("ctr %s: %w: %s", arguments[0], err, lines[len(lines)-1])
	}
	return nil
}

// registryHost is how images of the upstream are named on nodes; containerd takes it as their last resort.
var registryHost = fmt.Sprintf("%s:%d", upstreamAddress, nodePort)

// certsDir writes hosts.toml as bootstrap/payload does, with the cache before the upstream.
func (n *node) certsDir(c *cache) (string, error) {
	dir := filepath.Join(n.dir, "certs-"+c.short)
	content, err := toml.Marshal(map[string]any{"host": map[string]any{
		c.url(): map[string]any{"capabilities": []string{"pull", "resolve"}, "dial_timeout": "100ms"},
	}})
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, registryHost), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, registryHost, "hosts.toml"), content, 0o644)
	}
	if err != nil {
		return "", fmt.Errorf("writing hosts.toml: %w", err)
	}
	return dir, nil
}

// pulledBy is what came of a pull by containerd.
type pulledBy struct {
	took  time.Duration
	err   error
	again *pulledBy // the second try, if there was one
}

// String is the outcome in a table.
func (p pulledBy) String() string {
	text := p.outcome()
	if p.again != nil {
		text += "; again: " + p.again.outcome()
	}
	return text
}

func (p pulledBy) outcome() string {
	switch {
	case errors.Is(p.err, context.DeadlineExceeded):
		return "unfinished > " + took(p.took)
	case p.err != nil:
		return "failed · " + took(p.took)
	}
	return "pulled · " + took(p.took)
}

// pull takes an image through the cache as the project's nodes do. The upstream has no TLS, hence --plain-http; that
// concerns the last resort alone.
func (n *node) pull(ctx context.Context, c *cache, i image, patience time.Duration) pulledBy {
	dir, err := n.certsDir(c)
	if err != nil {
		return pulledBy{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := time.Now()
	err = n.ctr(ctx, "images", "pull", "--plain-http", "--hosts-dir", dir, registryHost+"/"+i.repository+":"+i.tag)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return pulledBy{took: time.Since(begun), err: err}
}
