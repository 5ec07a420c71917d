package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodeNetworkRole lets the network service of the node image list Nodes; it has to be applied to every cluster.
const nodeNetworkRole = "test/kubernetes/node-network-rbac.yaml"

// Stack is everything around the workload clusters.
type Stack struct {
	// Client reaches the management cluster, once Start has returned.
	Client client.WithWatch
	// Progress tells what goes on.
	Progress *Progress

	paths     paths
	scheme    *runtime.Scheme
	authority *authority
}

// New returns a stack of which nothing runs yet, or what an earlier process left running.
func New(out io.Writer) (*Stack, error) { return newStack(out, "e2e") }

func newStack(out io.Writer, name string) (*Stack, error) {
	p, err := findPaths(name)
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.state("processes"), 0o755); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	return &Stack{Progress: NewProgress(out), paths: p, scheme: scheme}, nil
}

// Start brings up, in this order: the Docker daemon if none answers, the cut-off of container networks, management
// cluster, providers of Cluster API, upstreams, and this project's manager. What runs already is taken over.
func (s *Stack) Start(ctx context.Context) error {
	authority, err := loadAuthority(s.paths.state("authority"))
	if err != nil {
		return err
	}
	s.authority = authority
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"Docker, with container networks cut off from the outside", s.startDocker},
		{"management cluster (kind)", s.startManagement},
		{"providers of Cluster API", s.startProviders},
		{"upstream registries", s.startUpstreams},
		{"manager of this project", s.startManager},
	}
	for _, step := range steps {
		if err := s.Progress.Step(step.what, func() error { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// startDocker also installs the rule that cuts off container networks, before the first of them is used.
func (s *Stack) startDocker(ctx context.Context) error {
	if _, err := output(ctx, s.paths.in("test", "kubernetes", "dockerd.sh"), "start"); err != nil {
		return err
	}
	if _, err := CutOff(ctx); err != nil {
		return err
	}
	for _, image := range []string{NodeImage, ManagerImage, WorkloadImage} {
		if _, err := docker(ctx, "image", "inspect", "--format", "{{.Id}}", image); err != nil {
			return fmt.Errorf("image %s is missing, run make stack first: %w", image, err)
		}
	}
	return nil
}

// Remove ends and removes everything that any stack of this machine made, in the reverse order. It goes on after
// an error and returns all of them.
func (s *Stack) Remove(ctx context.Context) error {
	// Containers outlive their daemon, and only a daemon removes them.
	if _, err := output(ctx, s.paths.in("test", "kubernetes", "dockerd.sh"), "start"); err != nil {
		return errors.Join(err, s.stopProviders(ctx))
	}
	errs := []error{s.stopProviders(ctx), s.removeWorkloadContainers(ctx), s.removeUpstreams(ctx)}
	if err := kindProvider().Delete(ManagementCluster, s.Kubeconfig()); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.removeManagements())
	errs = append(errs, s.removeNetwork(ctx), s.stopDocker(ctx), os.RemoveAll(s.paths.state()))
	return errors.Join(errs...)
}

func (s *Stack) stopProviders(ctx context.Context) error {
	var errs []error
	for _, p := range providers() {
		errs = append(errs, s.stopProcess(ctx, p.name, p.program))
	}
	return errors.Join(errs...)
}

// removeWorkloadContainers removes the containers of clusters that Cluster API could not delete any more.
func (s *Stack) removeWorkloadContainers(ctx context.Context) error {
	const label = "io.x-k8s.kind.cluster"
	list, err := docker(ctx, "ps", "-a", "--filter", "label="+label, "--format", `{{.Names}} {{.Label "`+label+`"}}`)
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range strings.Split(list, "\n") {
		if name, cluster, ok := strings.Cut(line, " "); ok && strings.HasPrefix(cluster, clusterPrefix) {
			_, err := docker(ctx, "rm", "-f", "-v", name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeNetwork removes the network of the clusters, unless something else still uses it.
func (s *Stack) removeNetwork(ctx context.Context) error {
	users, err := docker(ctx, "network", "inspect", Network, "--format", "{{len .Containers}}")
	if err != nil || users != "0" {
		return nil //nolint:nilerr // a network that cannot be inspected is gone
	}
	_, err = docker(ctx, "network", "rm", Network)
	return err
}

// stopDocker takes back the cut-off and ends the daemon if it was started for the tests, unless it has other work.
func (s *Stack) stopDocker(ctx context.Context) error {
	running, err := docker(ctx, "ps", "-q")
	if err != nil || running != "" {
		return err
	}
	_, err = output(ctx, s.paths.in("test", "kubernetes", "dockerd.sh"), "stop")
	return err
}
