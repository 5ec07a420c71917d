package envtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// shutdownTimeout is less than the 20s that envtest grants the API server.
const shutdownTimeout = 15 * time.Second

// Environment is a running API server.
type Environment struct {
	// Config reaches the API server as administrator.
	Config *rest.Config
	// Scheme knows Kubernetes, Cluster API and this project.
	Scheme *runtime.Scheme
	// Client reads and writes without a cache.
	Client client.Client

	server     *envtest.Environment
	requests   recorder
	kubeconfig []byte
	managers   atomic.Int32
}

// New starts an API server. The caller stops it, usually in TestMain.
func New() (*Environment, error) {
	ctrl.SetLogger(klog.Background())
	root, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	e := &Environment{}
	if e.Scheme, err = newScheme(); err != nil {
		return nil, err
	}
	if e.server, err = newServer(root); err != nil {
		return nil, err
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.server.Stop())
	}
	return e, nil
}

// Stop ends the API server.
func (e *Environment) Stop() error { return e.server.Stop() }

func (e *Environment) start() error {
	var err error
	if e.Config, err = e.server.Start(); err != nil {
		return fmt.Errorf("starting the API server (`make envtest-assets` builds its binaries): %w", err)
	}
	e.Config.QPS, e.Config.Burst = 200, 400
	if e.Client, err = client.New(e.Config, client.Options{Scheme: e.Scheme}); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	admin, err := e.server.AddUser(envtest.User{Name: "workload-admin", Groups: []string{"system:masters"}}, e.Config)
	if err != nil {
		return fmt.Errorf("adding an administrator: %w", err)
	}
	if e.kubeconfig, err = admin.KubeConfig(); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}

func newServer(root string) (*envtest.Environment, error) {
	crds, err := loadCRDs(root)
	if err != nil {
		return nil, err
	}
	hook, err := loadWebhook(root)
	if err != nil {
		return nil, err
	}
	server := &envtest.Environment{
		BinaryAssetsDirectory: assets(root),
		// A scheme without versions of ours keeps envtest from adding conversion webhooks.
		CRDInstallOptions:     envtest.CRDInstallOptions{CRDs: crds, Scheme: runtime.NewScheme()},
		WebhookInstallOptions: envtest.WebhookInstallOptions{MutatingWebhooks: []*admissionregistrationv1.MutatingWebhookConfiguration{hook}},
	}
	// How long the API server waits, when stopped, for connections that a ClusterCache left open.
	server.ControlPlane.GetAPIServer().Configure().Set("request-timeout", shutdownTimeout.String())
	return server, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme,
		clusterv1.AddToScheme, bootstrapv1.AddToScheme, controlplanev1.AddToScheme,
		v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return scheme, nil
}

// assets is where the binaries are unless KUBEBUILDER_ASSETS, which envtest prefers, names another directory.
func assets(root string) string {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		return ""
	}
	return filepath.Join(root, "bin", "kubernetes", "bin")
}

// repositoryRoot is the directory of go.mod: tests run in the directory of their package, below it.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("finding the repository: no go.mod in any parent of the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", fmt.Errorf("finding the repository: %w", err)
}
