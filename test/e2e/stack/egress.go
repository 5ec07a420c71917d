package stack

import (
	"context"
	"path/filepath"
	"strings"
	"time"
)

const (
	egressProxy     = "egress-proxy"
	egressPort      = "3128"
	egressOnlyLabel = "behind-proxy-"
)

// EgressProxy is a forwarding proxy in the network of the clusters.
type EgressProxy struct{}

// URL is what a cache is told.
func (EgressProxy) URL() string { return "http://" + egressProxy + ".test:" + egressPort }

// RemoteURL is where only the proxy reaches an upstream: no other name server knows the name.
func (EgressProxy) RemoteURL(u *Upstream) string {
	return "http://" + egressOnlyLabel + u.name + ".test:" + plainPort
}

// StartEgressProxy starts the proxy; RemoveEgressProxy, or the removal of the stack, ends it.
func (s *Stack) StartEgressProxy(ctx context.Context) (EgressProxy, error) {
	if err := s.RemoveEgressProxy(ctx); err != nil {
		return EgressProxy{}, err
	}
	program := s.paths.state(egressProxy)
	if err := buildProgram(ctx, s.paths.root, "./test/e2e/egressproxy", program); err != nil {
		return EgressProxy{}, err
	}
	args := []string{
		"run", "-d", "--name", egressProxy, "--label", upstreamLabel, "--network", Network, "--network-alias", egressProxy + ".test",
		"-v", program + ":/" + filepath.Base(program) + ":ro", "--entrypoint", "/" + filepath.Base(program), upstreamImage, ":" + egressPort,
	}
	for _, u := range s.Upstreams() {
		args = append(args, egressOnlyLabel+u.name+".test="+u.name+".test")
	}
	_, err := docker(ctx, args...)
	return EgressProxy{}, err
}

// RemoveEgressProxy removes the proxy if there is one.
func (s *Stack) RemoveEgressProxy(ctx context.Context) error {
	_, err := docker(ctx, "rm", "-f", egressProxy)
	return err
}

// Requests are what the proxy was asked for since a point in time: method and target.
func (EgressProxy) Requests(ctx context.Context, since time.Time) ([]string, error) {
	log, err := docker(ctx, "logs", "--since", since.UTC().Format(time.RFC3339Nano), egressProxy)
	if err != nil {
		return nil, err
	}
	var requests []string
	for line := range strings.Lines(log) {
		if _, request, found := strings.Cut(strings.TrimSpace(line), " "); found {
			requests = append(requests, request)
		}
	}
	return requests, nil
}
