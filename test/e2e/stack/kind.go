package stack

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// ManagementCluster is the name of the kind cluster.
	ManagementCluster = "registry-cache-e2e"
	// Network is the Docker network of all clusters and upstreams; kind and the Docker provider know it by this name.
	Network = "kind"

	readyTimeout = 5 * time.Minute
)

// startManagement creates the kind cluster, or takes over the one that runs.
func (s *Stack) startManagement(ctx context.Context) error {
	kind := kindProvider()
	clusters, err := kind.List()
	if err != nil {
		return fmt.Errorf("listing kind clusters: %w", err)
	}
	if !slices.Contains(clusters, ManagementCluster) {
		if err := s.createManagement(kind); err != nil {
			return err
		}
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.applyFile(ctx, s.Client, s.paths.in(nodeNetworkRole)); err != nil {
		return err
	}
	return s.Progress.Until(ctx, readyTimeout, "management cluster", func(ctx context.Context) string {
		return nodesMissing(ctx, s.Client, 1)
	})
}

func kindProvider() *cluster.Provider { return cluster.NewProvider(cluster.ProviderWithDocker()) }

func (s *Stack) createManagement(kind *cluster.Provider) error {
	err := kind.Create(ManagementCluster,
		cluster.CreateWithNodeImage(NodeImage),
		cluster.CreateWithConfigFile(s.paths.in("test", "kubernetes", "kind.yaml")),
		cluster.CreateWithKubeconfigPath(s.Kubeconfig()),
		cluster.CreateWithRetain(true))
	if err != nil {
		return fmt.Errorf("creating the kind cluster: %w", err)
	}
	return nil
}

// LoadImage brings an image of the Docker daemon into the nodes that the cluster has now.
func (c *Cluster) LoadImage(ctx context.Context, image string) error {
	return c.stack.loadImage(ctx, c.Name, image)
}

// LoadImageAtBoot is LoadImage for nodes that only now come up, n in all. A kubelet that has begun to pull an image does not take one that
// was loaded meanwhile: it does not know whether the Pod may have it.
func (c *Cluster) LoadImageAtBoot(ctx context.Context, image string, n int) error {
	return c.stack.Progress.Until(ctx, joinTimeout, c.Name+": "+image, func(ctx context.Context) string {
		list, err := kindProvider().ListInternalNodes(c.Name)
		if err != nil || len(list) < n {
			return fmt.Sprintf("%d of %d containers, %v", len(list), n, err)
		}
		if err := c.LoadImage(ctx, image); err != nil {
			return shorten(err.Error(), 200)
		}
		return ""
	})
}

// loadImage brings an image of the Docker daemon into the nodes of the management cluster, or of one of the Docker provider,
// which labels its containers as kind does.
func (s *Stack) loadImage(ctx context.Context, cluster, image string) error {
	list, err := kindProvider().ListInternalNodes(cluster)
	if err != nil {
		return fmt.Errorf("listing the nodes of cluster %s: %w", cluster, err)
	}
	archive := s.paths.state("image.tar")
	if _, err := docker(ctx, "save", "--output", archive, image); err != nil {
		return err
	}
	defer os.Remove(archive) //nolint:errcheck // it goes with the state directory
	for _, node := range list {
		if err := loadArchive(node, archive); err != nil {
			return fmt.Errorf("loading %s into %s: %w", image, node, err)
		}
	}
	return nil
}

func loadArchive(node nodes.Node, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	return nodeutils.LoadImageArchive(node, file)
}

// Kubeconfig is the path of the kubeconfig of the management cluster.
func (s *Stack) Kubeconfig() string { return s.paths.state("kubeconfig") }

func (s *Stack) connect(ctx context.Context) error {
	if err := kindProvider().ExportKubeConfig(ManagementCluster, s.Kubeconfig(), false); err != nil {
		return fmt.Errorf("exporting the kubeconfig of the kind cluster: %w", err)
	}
	var err error
	s.Client, err = s.clientOf(s.Kubeconfig())
	return err
}

// clientOf reaches the management cluster of a kubeconfig.
func (s *Stack) clientOf(kubeconfig string) (client.WithWatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of the management cluster: %w", err)
	}
	config.QPS, config.Burst, config.WarningHandler = 50, 100, rest.NoWarnings{}
	c, err := client.NewWithWatch(config, client.Options{Scheme: s.scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the management cluster: %w", err)
	}
	return c, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, bootstrapv1.AddToScheme, controlplanev1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return scheme, nil
}

// nodesMissing says what is missing until a cluster has a number of ready nodes, "" when nothing is.
func nodesMissing(ctx context.Context, c client.Client, want int) string {
	nodes := &corev1.NodeList{}
	if err := c.List(ctx, nodes); err != nil {
		return shorten(err.Error(), 200)
	}
	ready := 0
	for i := range nodes.Items {
		if nodeReady(&nodes.Items[i]) {
			ready++
		}
	}
	if ready < want || len(nodes.Items) < want {
		return fmt.Sprintf("%d of %d nodes are ready", ready, want)
	}
	return ""
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
