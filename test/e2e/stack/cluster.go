package stack

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// clusterPrefix begins the name of every workload cluster, by which what is left of them is recognised.
	clusterPrefix = "rc-"

	requestTimeout = 10 * time.Second

	initTimeout   = 6 * time.Minute
	joinTimeout   = 8 * time.Minute
	deleteTimeout = 5 * time.Minute
)

// Cluster is a workload cluster of one control plane Machine and some workers.
type Cluster struct {
	// Name is also the name of its namespace in the management cluster, unless Namespace says another.
	Name string
	// Namespace, if it is set, is that of another Cluster, which makes and removes it.
	Namespace string
	// Workers is the number of worker Machines in a MachineDeployment.
	Workers int32
	// Pooled is the number of worker Machines in a MachinePool; 0 means that there is none.
	Pooled int32
	// Format is that of the bootstrap data of control plane and MachineDeployment, cloud-config if it is empty. A MachinePool
	// always has cloud-config.
	Format bootstrapv1.Format
	// HostsDirectory lets containerd read its hosts directory from the start, as images of Cluster API's image-builder do.
	HostsDirectory bool
	// Client and Config reach the workload cluster, once WaitInitialized has returned.
	Client client.WithWatch
	Config *rest.Config

	stack *Stack
}

// Cluster describes a workload cluster; nothing is created yet.
func (s *Stack) Cluster(name string, workers int32) *Cluster {
	return &Cluster{Name: clusterPrefix + name, Workers: workers, stack: s}
}

// RegistryCache is a RegistryCache for the Cluster with one cache for each upstream.
func (c *Cluster) RegistryCache(upstreams ...*Upstream) *v1alpha1.RegistryCache {
	rc := &v1alpha1.RegistryCache{ObjectMeta: c.meta()}
	for _, u := range upstreams {
		rc.Spec.Caches = append(rc.Spec.Caches, v1alpha1.Cache{Upstream: u.Host(), RemoteURL: u.RemoteURL()})
	}
	return rc
}

// Create creates the Cluster with its templates, after more objects of the same namespace. It does not wait.
func (c *Cluster) Create(ctx context.Context, more ...client.Object) error {
	if err := c.createNamespace(ctx); err != nil {
		return err
	}
	for _, o := range append(c.objects(), more...) {
		if err := c.stack.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("creating %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

func (c *Cluster) createNamespace(ctx context.Context) error {
	if c.Namespace != "" {
		return nil
	}
	err := c.stack.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Name}})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cluster %s is left from an earlier run, make clean-e2e removes it: %w", c.Name, err)
	}
	if err != nil {
		return fmt.Errorf("creating namespace %s: %w", c.Name, err)
	}
	return nil
}

// Key names the objects of the Cluster in the management cluster, which all have its name.
func (c *Cluster) Key() client.ObjectKey {
	meta := c.meta()
	return client.ObjectKey{Namespace: meta.Namespace, Name: meta.Name}
}

// WaitInitialized waits for the API server and prepares the cluster for its nodes: the role of their network and
// the StorageClass.
func (c *Cluster) WaitInitialized(ctx context.Context) error {
	err := c.stack.Progress.Until(ctx, initTimeout, c.Name+": control plane", func(ctx context.Context) string {
		if missing := c.connect(ctx); missing != "" {
			return missing
		}
		if err := c.stack.applyFile(ctx, c.Client, c.stack.paths.in(nodeNetworkRole)); err != nil {
			return shorten(err.Error(), 200)
		}
		return ""
	})
	if err != nil {
		return err
	}
	return c.createStorageClass(ctx)
}

// WaitReady waits until all Machines are nodes that are ready, each with volumes to give out.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return c.stack.Progress.Until(ctx, joinTimeout, c.Name+": nodes", func(ctx context.Context) string {
		if err := c.createVolumes(ctx); err != nil {
			return shorten(err.Error(), 200)
		}
		return nodesMissing(ctx, c.Client, int(c.Workers+c.Pooled)+1)
	})
}

// Scale changes the number of workers. It does not wait.
func (c *Cluster) Scale(ctx context.Context, workers int32) error {
	deployment := &clusterv1.MachineDeployment{}
	if err := c.stack.Client.Get(ctx, c.Key(), deployment); err != nil {
		return fmt.Errorf("scaling %s: %w", c.Name, err)
	}
	before := client.MergeFrom(deployment.DeepCopy())
	deployment.Spec.Replicas = &workers
	if err := c.stack.Client.Patch(ctx, deployment, before); err != nil {
		return fmt.Errorf("scaling %s to %d workers: %w", c.Name, workers, err)
	}
	c.Workers = workers
	return nil
}

// Delete deletes the Cluster and waits until it is gone.
func (c *Cluster) Delete(ctx context.Context) error {
	cluster := &clusterv1.Cluster{ObjectMeta: c.meta()}
	if err := c.stack.Client.Delete(ctx, cluster); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", c.Name, err)
	}
	err := c.stack.Progress.Until(ctx, deleteTimeout, c.Name+": deletion", func(ctx context.Context) string {
		return c.left(ctx, cluster)
	})
	if err != nil {
		return err
	}
	c.Config = nil
	return c.deleteNamespace(ctx)
}

// deleteNamespace also waits: what keeps a finalizer keeps the namespace.
func (c *Cluster) deleteNamespace(ctx context.Context) error {
	if c.Namespace != "" {
		return nil
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Name}}
	return c.stack.Progress.Until(ctx, deleteTimeout, "namespace "+c.Name, func(ctx context.Context) string {
		err := c.stack.Client.Delete(ctx, namespace)
		switch {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil && !apierrors.IsConflict(err):
			return err.Error()
		}
		return "objects are left in it"
	})
}

// left says what is left of a Cluster that is being deleted.
func (c *Cluster) left(ctx context.Context, cluster *clusterv1.Cluster) string {
	err := c.stack.Client.Get(ctx, client.ObjectKeyFromObject(cluster), cluster)
	if client.IgnoreNotFound(err) != nil {
		return err.Error()
	}
	if err != nil {
		return ""
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d Machines, finalizers of the Cluster %v", len(machines), cluster.Finalizers)
}

// Machines are all Machines of the Cluster.
func (c *Cluster) Machines(ctx context.Context) ([]clusterv1.Machine, error) {
	list := &clusterv1.MachineList{}
	if err := c.stack.Client.List(ctx, list, client.InNamespace(c.Key().Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: c.Name}); err != nil {
		return nil, fmt.Errorf("listing the Machines of %s: %w", c.Name, err)
	}
	return list.Items, nil
}

func (c *Cluster) kubeconfig(ctx context.Context) ([]byte, error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: c.Key().Namespace, Name: c.Name + "-kubeconfig"}
	if err := c.stack.Client.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of %s: %w", c.Name, err)
	}
	return secret.Data["value"], nil
}

// connect makes the client from the kubeconfig that the control plane provider writes, once the API server answers;
// it says what is missing.
func (c *Cluster) connect(ctx context.Context) (missing string) {
	kubeconfig, err := c.kubeconfig(ctx)
	if err != nil {
		return shorten(err.Error(), 200)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return err.Error()
	}
	config.Timeout, config.WarningHandler = requestTimeout, rest.NoWarnings{}
	plain, err := rest.HTTPClientFor(config)
	if err != nil {
		return err.Error()
	}
	if missing := notReady(ctx, plain, config.Host+"/readyz"); missing != "" {
		return "API server: " + missing
	}
	c.Config = config
	if c.Client, err = client.NewWithWatch(config, client.Options{Scheme: c.stack.scheme}); err != nil {
		return err.Error()
	}
	return ""
}
