package envtest

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/reconcilers/kubeadmconfig"
	bootstrapsetup "sigs.k8s.io/cluster-api/bootstrap/kubeadm/setup"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/core/reconcilers/cluster"
	"sigs.k8s.io/cluster-api/core/reconcilers/machine"
	"sigs.k8s.io/cluster-api/core/reconcilers/machineset"
	coresetup "sigs.k8s.io/cluster-api/core/setup"
	"sigs.k8s.io/cluster-api/util/index"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
)

const (
	capiConcurrency = 5
	capiGracePeriod = 5 * time.Minute
	capiName        = "envtest-capi"
)

// StartCAPI runs Cluster API's own controllers of Clusters, MachineSets, Machines and KubeadmConfigs until the test ends.
func (e *Environment) StartCAPI(t testing.TB) {
	t.Helper()
	g := gomega.NewWithT(t)
	options := e.managerOptions()
	options.Cache = bootstrapsetup.ManagerCacheOptions(e.Scheme, e.managerName(), "", syncPeriod)
	// The provider's own manager has no controller of MachineSets and drops their spec.
	maps.DeleteFunc(options.Cache.ByObject, func(kind client.Object, _ ctrlcache.ByObject) bool {
		_, ok := kind.(*clusterv1.MachineSet)
		return ok
	})
	options.Client = bootstrapsetup.ManagerClientOptions()
	mgr, err := ctrl.NewManager(e.Config, options)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	clusterCache, err := setupCAPI(t.Context(), mgr)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	// Its connections outlive the manager, and the API server does not end before they do.
	t.Cleanup(clusterCache.(interface{ Shutdown() }).Shutdown)
	e.Start(t, mgr, false)
}

func setupCAPI(ctx context.Context, mgr ctrl.Manager) (clustercache.ClusterCache, error) {
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return nil, fmt.Errorf("adding indexes: %w", err)
	}
	secrets, err := bootstrapsetup.CreateSecretCachingClient(mgr)
	if err != nil {
		return nil, fmt.Errorf("creating a client for Secrets: %w", err)
	}
	options := controller.Options{MaxConcurrentReconciles: capiConcurrency}
	clusterCache, err := clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient: secrets,
		Cache:        coresetup.ClusterCacheCacheOptions(),
		Client:       coresetup.ClusterCacheClientOptions(capiName, 20, 30),
	}, options)
	if err != nil {
		return nil, fmt.Errorf("setting up the ClusterCache: %w", err)
	}
	return clusterCache, setupReconcilers(ctx, mgr, secrets, clusterCache, options)
}

func setupReconcilers(ctx context.Context, mgr ctrl.Manager, secrets client.Client, clusterCache clustercache.ClusterCache, options controller.Options) error {
	if err := (&cluster.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), ClusterCache: clusterCache,
		RemoteConnectionGracePeriod: capiGracePeriod,
	}).SetupWithManager(ctx, mgr, options); err != nil {
		return fmt.Errorf("setting up the Cluster controller: %w", err)
	}
	if err := (&machine.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), ClusterCache: clusterCache,
		RemoteConditionsGracePeriod: capiGracePeriod,
	}).SetupWithManager(ctx, mgr, options); err != nil {
		return fmt.Errorf("setting up the Machine controller: %w", err)
	}
	if err := (&machineset.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), ClusterCache: clusterCache,
	}).SetupWithManager(ctx, mgr, options); err != nil {
		return fmt.Errorf("setting up the MachineSet controller: %w", err)
	}
	if err := (&kubeadmconfig.Reconciler{
		Client: mgr.GetClient(), SecretCachingClient: secrets, APIReader: mgr.GetAPIReader(), ClusterCache: clusterCache,
		TokenTTL: kubeadmconfig.DefaultTokenTTL,
	}).SetupWithManager(ctx, mgr, options); err != nil {
		return fmt.Errorf("setting up the KubeadmConfig controller: %w", err)
	}
	return nil
}
