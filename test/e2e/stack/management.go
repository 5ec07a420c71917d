package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"
)

// managementPrefix begins the names of management clusters beside the one of the stack.
const managementPrefix = "registry-cache-mgmt-"

const dockerSocket = "/var/run/docker.sock"

// Management is one more management cluster: a kind cluster with nothing in it, for clusterctl to install the providers of Cluster API
// and this project into, where they run as Pods. In the stack's own management cluster they are processes of this host.
type Management struct {
	Name   string
	Client client.WithWatch

	// view is the stack as clusters see it that this one manages.
	view *Stack
}

// Management creates the kind cluster and waits until its node is ready. The Docker provider in it reaches the daemon that the stack uses.
func (s *Stack) Management(ctx context.Context, name string) (*Management, error) {
	m := &Management{Name: managementPrefix + name}
	config, err := s.managementConfig()
	if err != nil {
		return nil, err
	}
	err = kindProvider().Create(m.Name,
		cluster.CreateWithNodeImage(NodeImage), cluster.CreateWithV1Alpha4Config(config),
		cluster.CreateWithKubeconfigPath(s.kubeconfigOf(m.Name)), cluster.CreateWithRetain(true))
	if err != nil {
		return nil, fmt.Errorf("creating the kind cluster %s: %w", m.Name, err)
	}
	if m.Client, err = s.clientOf(s.kubeconfigOf(m.Name)); err != nil {
		return nil, err
	}
	m.view = &Stack{Client: m.Client, Progress: s.Progress, paths: s.paths, scheme: s.scheme, authority: s.authority}
	if err := s.applyFile(ctx, m.Client, s.paths.in(nodeNetworkRole)); err != nil {
		return nil, err
	}
	return m, s.Progress.Until(ctx, readyTimeout, m.Name, func(ctx context.Context) string { return nodesMissing(ctx, m.Client, 1) })
}

// managementConfig is that of the stack's own management cluster, with Docker's socket on the node.
func (s *Stack) managementConfig() (*v1alpha4.Cluster, error) {
	content, err := os.ReadFile(s.paths.in("test", "kubernetes", "kind.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of kind: %w", err)
	}
	config := &v1alpha4.Cluster{}
	if err := yaml.UnmarshalStrict(content, config); err != nil {
		return nil, fmt.Errorf("reading the configuration of kind: %w", err)
	}
	for i := range config.Nodes {
		config.Nodes[i].ExtraMounts = append(config.Nodes[i].ExtraMounts, v1alpha4.Mount{HostPath: dockerSocket, ContainerPath: dockerSocket})
	}
	return config, nil
}

func (s *Stack) kubeconfigOf(name string) string { return s.paths.state(name + ".kubeconfig") }

// Kubeconfig is the path of the kubeconfig of this cluster.
func (m *Management) Kubeconfig() string { return m.view.kubeconfigOf(m.Name) }

// Cluster describes a workload cluster of this management cluster; nothing is created yet.
func (m *Management) Cluster(name string, workers int32) *Cluster {
	return m.view.Cluster(name, workers)
}

// Adopt makes this the management cluster of a workload cluster that was moved here.
func (m *Management) Adopt(c *Cluster) { c.stack = m.view }

// LoadArchive brings an image archive into the nodes, as it is.
func (m *Management) LoadArchive(archive string) error {
	list, err := kindProvider().ListInternalNodes(m.Name)
	if err != nil {
		return fmt.Errorf("listing the nodes of cluster %s: %w", m.Name, err)
	}
	for _, node := range list {
		if err := loadArchive(node, archive); err != nil {
			return fmt.Errorf("loading %s into %s: %w", archive, node, err)
		}
	}
	return nil
}

// LoadImage brings an image of the Docker daemon into the nodes.
func (m *Management) LoadImage(ctx context.Context, image string) error {
	return m.view.loadImage(ctx, m.Name, image)
}

// CollectLogs writes what all providers logged, and their objects, into a directory below bin/e2e-logs.
func (m *Management) CollectLogs(ctx context.Context, name string) error {
	dir := m.view.paths.logs(shorten(notInFileNames.ReplaceAllString(name, "-"), 80), m.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	kubectl := []string{m.view.paths.program("kubectl"), "--kubeconfig", m.Kubeconfig()}
	return errors.Join(
		capture(ctx, filepath.Join(dir, "providers.log"), append(kubectl, "logs", "-A", "-l", "cluster.x-k8s.io/provider", "--prefix", "--tail", "-1")...),
		capture(ctx, filepath.Join(dir, "objects.yaml"), append(kubectl, "get", "cluster-api,registrycaches,providers,certificates,events", "-A", "-o", "yaml")...),
		capture(ctx, filepath.Join(dir, "pods.txt"), append(kubectl, "describe", "pods", "-A")...))
}

// Remove removes the kind cluster, and what it manages with it: no Machine is deleted.
func (m *Management) Remove() error { return kindProvider().Delete(m.Name, m.Kubeconfig()) }

// removeManagements removes those that any run has left.
func (s *Stack) removeManagements() error {
	names, err := kindProvider().List()
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, managementPrefix) {
			errs = append(errs, kindProvider().Delete(name, s.kubeconfigOf(name)))
		}
	}
	return errors.Join(errs...)
}

// Containers are the containers of a workload cluster, by name, with what tells whether one was made or started again.
func (c *Cluster) Containers(ctx context.Context) (map[string]string, error) {
	list, err := docker(ctx, "ps", "-a", "--no-trunc", "--filter", "label=io.x-k8s.kind.cluster="+c.Name, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	containers := map[string]string{}
	for _, name := range strings.Fields(list) {
		if containers[name], err = docker(ctx, "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name); err != nil {
			return nil, err
		}
	}
	return containers, nil
}
