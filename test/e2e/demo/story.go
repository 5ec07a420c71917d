package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	clusterName = "demo"
	workers     = 2

	allocationTimeout = time.Minute
	configureTimeout  = 3 * time.Minute
)

// story is what the chapters share.
type story struct {
	stack         *stack.Stack
	cluster       *stack.Cluster
	upstream      *stack.Upstream
	first, second stack.Node
	image         stack.Image
}

// tell brings up what is needed and goes through the chapters.
func tell(ctx context.Context, s *stack.Stack) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	t := &story{stack: s, cluster: s.Cluster(clusterName, workers), upstream: s.Upstream("registry-one")}
	for _, chapter := range []func(context.Context) error{
		t.createCluster, t.waitForNodes, t.pushImage, t.firstPull, t.secondPull, t.pullWithoutUpstream, t.pullWithoutCache, t.lookAround,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *story) title(text string) { fmt.Printf("\n== %s\n", text) }

func (t *story) createCluster(ctx context.Context) error {
	t.title("A Cluster and its RegistryCache are created together")
	if err := t.cluster.Create(ctx, t.cluster.RegistryCache(t.stack.Upstreams()...)); err != nil {
		return err
	}
	rc := &v1alpha1.RegistryCache{}
	err := t.stack.Progress.Until(ctx, allocationTimeout, "addresses", func(ctx context.Context) string {
		if err := t.stack.Client.Get(ctx, t.key(), rc); err != nil {
			return err.Error()
		}
		if len(rc.Status.Caches) < len(rc.Spec.Caches) {
			return "status.caches is not filled yet"
		}
		return ""
	})
	if err != nil {
		return err
	}
	for _, c := range rc.Status.Caches {
		t.stack.Progress.Say("nodes will reach the cache of %s at %s", c.Upstream, c.Endpoint)
	}
	machines, err := t.cluster.Machines(ctx)
	if err != nil {
		return err
	}
	withData := 0
	for _, m := range machines {
		if m.Spec.Bootstrap.DataSecretName != nil {
			withData++
		}
	}
	t.stack.Progress.Say("at this moment there are %d Machines, %d of them with bootstrap data", len(machines), withData)
	return nil
}

func (t *story) waitForNodes(ctx context.Context) error {
	t.title("Its nodes boot with the addresses in their bootstrap data, and use a cache once it answers")
	err := t.stack.Progress.Step("control plane", func() error { return t.cluster.WaitInitialized(ctx) })
	if err != nil {
		return err
	}
	if err := t.stack.Progress.Step("nodes", func() error { return t.cluster.WaitReady(ctx) }); err != nil {
		return err
	}
	_, nodes, err := t.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	t.first, t.second = nodes[0], nodes[1]
	if err := t.waitConfigured(ctx, true); err != nil {
		return err
	}
	file := stack.HostsFile(t.upstream.Host())
	content, err := t.first.ReadFile(ctx, file)
	fmt.Printf("\n%s on %s:\n%s\n", file, t.first.Name, content)
	return err
}

func (t *story) pushImage(ctx context.Context) (err error) {
	t.title("Pulls through the cache of " + t.upstream.Host())
	t.image, err = t.upstream.Push(ctx, fmt.Sprintf("demo/app-%d", time.Now().Unix()))
	return err
}

func (t *story) firstPull(ctx context.Context) error {
	return t.pull(ctx, "first pull, the cache fetches every layer", t.first, t.image.Ref())
}

func (t *story) secondPull(ctx context.Context) error {
	return t.pull(ctx, "second pull, on another node", t.second, t.image.Ref())
}

func (t *story) pullWithoutUpstream(ctx context.Context) error {
	t.title("The upstream is stopped")
	if err := t.upstream.Stop(ctx); err != nil {
		return err
	}
	controlPlane, _, err := t.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	if err := t.pull(ctx, "pull on a third node", controlPlane[0], t.image.Ref()); err != nil {
		return err
	}
	return t.upstream.Start(ctx)
}

// pullWithoutCache also stops the manager, which would bring the cache back at once.
func (t *story) pullWithoutCache(ctx context.Context) error {
	t.title("The cache is deleted, and the manager with it: nodes go straight to the upstream")
	images := make([]stack.Image, 3)
	for i := range images {
		image, err := t.upstream.Push(ctx, fmt.Sprintf("demo/other-%d-%d", i, time.Now().Unix()))
		if err != nil {
			return err
		}
		images[i] = image
	}
	if err := t.timed(ctx, "pull straight from the upstream, for comparison", t.first, images[0].DirectRef()); err != nil {
		return err
	}
	if err := t.deleteCache(ctx); err != nil {
		return err
	}
	if err := t.timed(ctx, "pull at once, while hosts.toml still names the cache", t.first, images[1].Ref()); err != nil {
		return err
	}
	if err := t.waitConfigured(ctx, false); err != nil {
		return err
	}
	if err := t.timed(ctx, "pull after hosts.toml was withdrawn", t.first, images[2].Ref()); err != nil {
		return err
	}
	t.title("The manager returns, and the cache with it, at the same address")
	if err := t.stack.ScaleManager(ctx, 1); err != nil {
		return err
	}
	return t.waitConfigured(ctx, true)
}

func (t *story) deleteCache(ctx context.Context) error {
	if err := t.stack.ScaleManager(ctx, 0); err != nil {
		return err
	}
	cache, err := t.cluster.Cache(ctx, t.upstream)
	if err != nil {
		return err
	}
	return cache.DeleteService(ctx)
}

// waitConfigured waits until both workers have hosts.toml of the upstream, or neither of them.
func (t *story) waitConfigured(ctx context.Context, want bool) error {
	what := "hosts.toml on both workers"
	if !want {
		what = "hosts.toml withdrawn on both workers"
	}
	return t.stack.Progress.Step(what, func() error {
		return t.stack.Progress.Until(ctx, configureTimeout, what, func(ctx context.Context) string {
			for _, n := range []stack.Node{t.first, t.second} {
				has, err := n.HasFile(ctx, stack.HostsFile(t.upstream.Host()))
				if err != nil {
					return err.Error()
				}
				if has != want {
					return "not yet on " + n.Name
				}
			}
			return ""
		})
	})
}

// pull is timed, with what the cache counted after it.
func (t *story) pull(ctx context.Context, what string, n stack.Node, image string) error {
	if err := t.timed(ctx, what, n, image); err != nil {
		return err
	}
	cache, err := t.cluster.Cache(ctx, t.upstream)
	if err != nil {
		return err
	}
	counters, err := cache.Counters(ctx, t.first)
	if err != nil {
		return err
	}
	t.stack.Progress.Say("  the cache counts since its start: %s", counters)
	return nil
}

func (t *story) timed(ctx context.Context, what string, n stack.Node, image string) error {
	took, err := t.stack.Pull(ctx, n, image)
	if err != nil {
		return err
	}
	t.stack.Progress.Say("%s (%s): %.2fs", what, n.Name, took.Seconds())
	return nil
}

func (t *story) key() client.ObjectKey {
	return client.ObjectKey{Namespace: t.cluster.Name, Name: t.cluster.Name}
}

func (t *story) lookAround(ctx context.Context) error {
	kubectl, err := t.cluster.Kubectl(ctx)
	if err != nil {
		return err
	}
	program, kubeconfig := kubectl[0], kubectl[2]
	t.title("All of it is left running. To look around:")
	fmt.Printf(`
  # management cluster
  %[1]s --kubeconfig %[2]s get clusters,machines,registrycaches -A
  # workload cluster: the caches
  %[1]s --kubeconfig %[3]s -n kube-system get services,statefulsets,pods -l %[4]s=%[5]s
  # a node: what it was told, what it sees, what it did
  docker exec %[6]s cat /run/capi-registry-cache/state
  docker exec %[6]s journalctl --no-pager -u %[7]s

To remove it:

  make clean-e2e
`, program, t.stack.Kubeconfig(), kubeconfig, v1alpha1.ManagedByLabel, v1alpha1.ManagedByValue, t.first.Name, stack.NodeUnit)
	return nil
}
