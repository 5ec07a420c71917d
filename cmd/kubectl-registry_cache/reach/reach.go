package reach

import (
	"context"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/kubeconfig"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	userAgent = "kubectl-registry_cache"

	// requestTimeout bounds each request to a workload cluster: many are asked, and some may be gone.
	requestTimeout = 10 * time.Second
	// clientQPS and clientBurst are more than the defaults of client-go, with which 100 Pods take 20 s.
	clientQPS, clientBurst = 50, 100
)

// Scheme knows Kubernetes, Cluster API and this project.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, appsv1.AddToScheme, clusterv1.AddToScheme, bootstrapv1.AddToScheme, controlplanev1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return scheme, nil
}

// Management returns a client of the management cluster that reads from its API server.
func Management(config *rest.Config) (client.Client, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.UserAgent, config.WarningHandler = userAgent, rest.NoWarnings{}
	config.QPS, config.Burst = clientQPS, clientBurst
	made, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reaching the management cluster: %w", err)
	}
	return made, nil
}

// Workload is a workload cluster.
type Workload struct {
	// Client reads from its API server.
	Client client.Client
	// Pods asks its Pods.
	Pods Pods
}

// Answers asks for something that every API server has, and that may be forbidden.
func (w *Workload) Answers(ctx context.Context) error {
	err := w.Client.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &corev1.Namespace{})
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// Connect reaches a workload cluster by its kubeconfig: that in a file if there is one, else that in the Secret which Cluster API keeps
// beside the Cluster. Nothing is asked of it yet.
func Connect(ctx context.Context, management client.Client, cluster client.ObjectKey, file string) (*Workload, error) {
	content, err := read(ctx, management, cluster, file)
	if err != nil {
		return nil, err
	}
	config, err := configOf(content, file == "")
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of Cluster %s: %w", cluster, err)
	}
	config.Timeout, config.UserAgent, config.WarningHandler = requestTimeout, userAgent, rest.NoWarnings{}
	config.QPS, config.Burst = clientQPS, clientBurst
	made, err := client.New(config, client.Options{Scheme: management.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("reaching the workload cluster %s: %w", cluster, err)
	}
	pods, err := newPods(config)
	if err != nil {
		return nil, err
	}
	return &Workload{Client: made, Pods: pods}, nil
}

func read(ctx context.Context, management client.Client, cluster client.ObjectKey, file string) ([]byte, error) {
	if file == "" {
		return kubeconfig.FromSecret(ctx, management, cluster)
	}
	content, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of Cluster %s: %w", cluster, err)
	}
	return content, nil
}

// configOf reads a kubeconfig. One of a Secret was written by somebody else, perhaps a tenant: it must not make programs of this machine run, nor
// send its files anywhere.
func configOf(content []byte, ofSecret bool) (*rest.Config, error) {
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil, err
	}
	for name, user := range config.AuthInfos {
		if ofSecret && (user.Exec != nil || user.AuthProvider != nil || user.TokenFile != "" || user.ClientCertificate != "" || user.ClientKey != "") {
			return nil, fmt.Errorf("user %q of the Secret has a program or a file of this machine; accepted is one with all that it needs in it, or another with --workload-kubeconfig", name)
		}
	}
	for name, server := range config.Clusters {
		if ofSecret && server.CertificateAuthority != "" {
			return nil, fmt.Errorf("cluster %q of the Secret has a file of this machine; accepted is certificate-authority-data, or another with --workload-kubeconfig", name)
		}
	}
	return clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
}
