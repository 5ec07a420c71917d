package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// NodeUnit is the unit that writes and withdraws hosts.toml.
	NodeUnit = "configure-containerd-registries.service"

	// CertsDir is where containerd looks for hosts.toml.
	CertsDir  = "/etc/containerd/certs.d"
	pullTool  = "/usr/local/bin/cripull"
	podTimout = 2 * time.Minute
)

// Node is the container that a Machine of the Docker provider is.
type Node struct {
	// Name is that of the container and of the Node object.
	Name string
}

// Nodes are control plane and workers, each sorted by name.
func (c *Cluster) Nodes(ctx context.Context) (controlPlane, workers []Node, err error) {
	list := &corev1.NodeList{}
	if err := c.Client.List(ctx, list); err != nil {
		return nil, nil, fmt.Errorf("listing the nodes of %s: %w", c.Name, err)
	}
	for _, n := range list.Items {
		if _, ok := n.Labels["node-role.kubernetes.io/control-plane"]; ok {
			controlPlane = append(controlPlane, Node{Name: n.Name})
		} else {
			workers = append(workers, Node{Name: n.Name})
		}
	}
	return controlPlane, workers, nil
}

// Exec runs a program on the node and returns its output.
func (n Node) Exec(ctx context.Context, args ...string) (string, error) {
	return docker(ctx, append([]string{"exec", n.Name}, args...)...)
}

// HostsFile is where containerd looks for the hosts of an upstream.
func HostsFile(upstream string) string {
	if host, port, ok := strings.Cut(upstream, ":"); ok {
		upstream = host + "_" + port + "_"
	}
	return CertsDir + "/" + upstream + "/hosts.toml"
}

// ReadFile returns the content of a file of the node; os.ErrNotExist when there is none.
func (n Node) ReadFile(ctx context.Context, path string) (string, error) {
	content, err := n.Exec(ctx, "sh", "-c", `[ ! -e "$0" ] || { echo "exists"; cat "$0"; }`, path)
	if err != nil {
		return "", err
	}
	content, ok := strings.CutPrefix(content, "exists\n")
	if !ok {
		return "", fmt.Errorf("%s on %s: %w", path, n.Name, os.ErrNotExist)
	}
	return content, nil
}

// HasFile tells whether a file is on the node.
func (n Node) HasFile(ctx context.Context, path string) (bool, error) {
	_, err := n.ReadFile(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ModifiedAt is when a file of the node was written.
func (n Node) ModifiedAt(ctx context.Context, path string) (time.Time, error) {
	text, err := n.Exec(ctx, "stat", "-c", "%.6Y", path)
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time of %s on %s: %w", path, n.Name, err)
	}
	return time.UnixMicro(int64(seconds * 1e6)), nil
}

// Restart ends everything that runs on the node at once, as a power cut does, and boots it again.
func (n Node) Restart(ctx context.Context) error {
	if _, err := docker(ctx, "kill", n.Name); err != nil {
		return err
	}
	_, err := docker(ctx, "start", n.Name)
	return err
}

// Pull lets the node's containerd pull an image, as the kubelet does, and returns how long that took.
func (s *Stack) Pull(ctx context.Context, n Node, image string) (time.Duration, error) {
	if err := s.installPullTool(ctx, n); err != nil {
		return 0, err
	}
	printed, err := n.Exec(ctx, pullTool, "pull", image)
	if err != nil {
		return 0, err
	}
	answer := struct {
		Seconds float64 `json:"seconds"`
		Error   string  `json:"error"`
	}{}
	if err := json.Unmarshal([]byte(printed), &answer); err != nil {
		return 0, fmt.Errorf("answer of %s on %s %q: %w", pullTool, n.Name, printed, err)
	}
	took := time.Duration(answer.Seconds * float64(time.Second))
	if answer.Error != "" {
		return took, fmt.Errorf("pulling %s on %s: %s", image, n.Name, answer.Error)
	}
	return took, nil
}

// PullResult is one pull of a loop.
type PullResult struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error"`
}

// PullLoop lets the node's containerd pull an image every second for some time, its layers absent each time.
func (s *Stack) PullLoop(ctx context.Context, n Node, image string, length time.Duration) ([]PullResult, error) {
	if err := s.installPullTool(ctx, n); err != nil {
		return nil, err
	}
	printed, err := n.Exec(ctx, pullTool, "loop", image, strconv.Itoa(int(length.Seconds())))
	if err != nil {
		return nil, err
	}
	var results []PullResult
	for line := range strings.Lines(printed) {
		var r PullResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("answer of %s on %s %q: %w", pullTool, n.Name, line, err)
		}
		results = append(results, r)
	}
	return results, nil
}

func (s *Stack) installPullTool(ctx context.Context, n Node) error {
	if _, err := n.Exec(ctx, "test", "-x", pullTool); err == nil {
		return nil
	}
	local := s.paths.state(filepath.Base(pullTool))
	if _, err := os.Stat(local); err != nil {
		if err := buildProgram(ctx, s.paths.root, "./test/e2e/cripull", local); err != nil {
			return err
		}
	}
	_, err := docker(ctx, "cp", local, n.Name+":"+pullTool)
	return err
}

// RunPod creates a Pod and waits until it runs.
func (c *Cluster) RunPod(ctx context.Context, pod *corev1.Pod) error {
	if err := c.createPod(ctx, pod); err != nil {
		return err
	}
	return c.stack.Progress.Until(ctx, podTimout, "Pod "+pod.Name, func(ctx context.Context) string {
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err.Error()
		}
		if pod.Status.Phase == corev1.PodRunning {
			return ""
		}
		return describePod(pod)
	})
}

// createPod tries again while the namespace has no service account yet.
func (c *Cluster) createPod(ctx context.Context, pod *corev1.Pod) error {
	return c.stack.Progress.Until(ctx, podTimout, "Pod "+pod.Name, func(ctx context.Context) string {
		if err := c.Client.Create(ctx, pod); err != nil {
			return shorten(err.Error(), 200)
		}
		return ""
	})
}

// Destroy removes the container of the node, as if its machine had burnt down.
func (n Node) Destroy(ctx context.Context) error {
	_, err := docker(ctx, "rm", "-f", "-v", n.Name)
	return err
}
