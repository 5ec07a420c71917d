package envtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// managerUser is who our manager is for the API server.
const managerUser = "capi-registry-cache-manager"

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
	manager    *rest.Config
	managers   atomic.Int32
}

// New starts an API server, which configure may change before. The caller stops it, usually in TestMain.
func New(configure ...func(*envtest.APIServer)) (*Environment, error) {
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
	for _, c := range configure {
		c(e.server.ControlPlane.GetAPIServer())
	}
	if err := e.start(root); err != nil {
		return nil, errors.Join(err, e.server.Stop())
	}
	return e, nil
}

// Stop ends the API server.
func (e *Environment) Stop() error { return e.server.Stop() }

func (e *Environment) start(root string) error {
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
	return e.addManager(root)
}

// addManager adds a user that may do what the shipped ClusterRole allows, so that tests fail when our manager needs more.
func (e *Environment) addManager(root string) error {
	user, err := e.server.AddUser(envtest.User{Name: managerUser}, e.Config)
	if err != nil {
		return fmt.Errorf("adding the user of the manager: %w", err)
	}
	e.manager = user.Config()
	role := &rbacv1.ClusterRole{}
	if err := readYAML(filepath.Join(root, "config", "rbac", "role.yaml"), role); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: managerUser}},
	}
	return errors.Join(e.Client.Create(context.Background(), role), e.Client.Create(context.Background(), binding))
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
