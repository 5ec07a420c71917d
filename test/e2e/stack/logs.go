package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// notInFileNames are runs of what a directory should not be called.
var notInFileNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// CollectLogs writes what tells of a failure into a directory below bin/e2e-logs that is called like it: manager, providers, journals of all nodes,
// caches, access logs, and the objects of Cluster API. It takes what it can get.
func (s *Stack) CollectLogs(ctx context.Context, name string, clusters ...*Cluster) error {
	dir := s.paths.logs(shorten(notInFileNames.ReplaceAllString(name, "-"), 80))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	errs := []error{s.collectProviders(dir)}
	kubectl := []string{s.paths.program("kubectl"), "--kubeconfig", s.Kubeconfig()}
	errs = append(errs,
		capture(ctx, filepath.Join(dir, "manager.log"), append(kubectl, "-n", managerNamespace, "logs", "--all-pods", "deployment/"+managerName, "--timestamps")...),
		capture(ctx, filepath.Join(dir, "management-objects.yaml"), append(kubectl, "get", "cluster-api,registrycaches,events", "-A", "-o", "yaml")...),
		capture(ctx, filepath.Join(dir, "management-pods.txt"), append(kubectl, "describe", "pods", "-A")...))
	for _, u := range s.Upstreams() {
		for _, server := range u.servers() {
			errs = append(errs, capture(ctx, filepath.Join(dir, server+".log"), "docker", "logs", "--timestamps", server))
		}
	}
	for _, c := range clusters {
		errs = append(errs, c.collectLogs(ctx, filepath.Join(dir, c.Name)))
	}
	s.Progress.Say("logs are in %s", dir)
	return errors.Join(errs...)
}

func (s *Stack) collectProviders(dir string) error {
	var errs []error
	for _, p := range providers() {
		log, err := os.ReadFile(s.processLog(p.name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, p.name+".log"), log, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Cluster) collectLogs(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	names, err := docker(ctx, "ps", "-a", "--filter", "label=io.x-k8s.kind.cluster="+c.Name, "--format", "{{.Names}}")
	errs := []error{err}
	for _, name := range strings.Fields(names) {
		errs = append(errs,
			capture(ctx, filepath.Join(dir, name+"-journal.log"), "docker", "exec", name, "journalctl", "--no-pager", "--output", "short-iso-precise"),
			capture(ctx, filepath.Join(dir, name+"-container.log"), "docker", "logs", name))
	}
	if c.Config == nil {
		return errors.Join(errs...)
	}
	kubectl, err := c.Kubectl(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	selector := v1alpha1.ManagedByLabel + "=" + v1alpha1.ManagedByValue
	errs = append(errs,
		capture(ctx, filepath.Join(dir, "caches.log"), append(kubectl, "logs", "-n", "kube-system", "-l", selector, "--prefix", "--tail", "-1", "--max-log-requests", "50")...),
		capture(ctx, filepath.Join(dir, "pods.txt"), append(kubectl, "describe", "pods", "-A")...),
		capture(ctx, filepath.Join(dir, "objects.yaml"), append(kubectl, "get", "all,nodes,pv,pvc,events", "-A", "-o", "yaml")...))
	return errors.Join(errs...)
}

// Kubectl is the beginning of a kubectl command line for the workload cluster. The kubeconfig it names is written.
func (c *Cluster) Kubectl(ctx context.Context) ([]string, error) {
	secret, err := c.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	file := c.stack.paths.state(c.Name + ".kubeconfig")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %s: %w", c.Name, err)
	}
	return []string{c.stack.paths.program("kubectl"), "--kubeconfig", file}, nil
}

// capture writes all that a program prints into a file, also when it fails.
func capture(ctx context.Context, file string, command ...string) error {
	printed, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	return errors.Join(err, os.WriteFile(file, printed, 0o644))
}
