package envtest

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	coresetup "sigs.k8s.io/cluster-api/core/setup"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

const (
	startTimeout = 30 * time.Second
	syncPeriod   = 10 * time.Minute
)

// NewManager returns a manager with cache, client and webhook server as our own manager has them, and its rights. It serves the shipped
// webhook configuration once a handler is registered; requests to it are recorded, see AdmissionRequests. mutate changes its
// options.
func (e *Environment) NewManager(t testing.TB, mutate ...func(*ctrl.Options)) ctrl.Manager {
	t.Helper()
	o := e.server.WebhookInstallOptions
	options := e.managerOptions()
	options.Cache = coresetup.ManagerCacheOptions(e.Scheme, e.managerName(), "", syncPeriod)
	options.Client = coresetup.ManagerClientOptions()
	options.WebhookServer = &recordingServer{recorder: &e.requests, Server: webhook.NewServer(webhook.Options{
		Host: o.LocalServingHost, Port: o.LocalServingPort, CertDir: o.LocalServingCertDir,
	})}
	for _, m := range mutate {
		m(&options)
	}
	mgr, err := ctrl.NewManager(e.manager, options)
	gomega.NewWithT(t).Expect(err).NotTo(gomega.HaveOccurred())
	return mgr
}

// WithoutWebhook is an option of a manager that users run without the webhook: its server is where the API server does not look.
func (e *Environment) WithoutWebhook(o *ctrl.Options) {
	local := e.server.WebhookInstallOptions
	o.WebhookServer = webhook.NewServer(webhook.Options{Host: "127.0.0.2", Port: local.LocalServingPort, CertDir: local.LocalServingCertDir})
}

// WebhookAddress is where the API server expects the webhook server, host:port.
func (e *Environment) WebhookAddress() string {
	o := e.server.WebhookInstallOptions
	return net.JoinHostPort(o.LocalServingHost, strconv.Itoa(o.LocalServingPort))
}

// managerName is another for each manager: Cluster API names metrics after it, and takes no name twice.
func (e *Environment) managerName() string {
	return "envtest-" + strconv.Itoa(int(e.managers.Add(1)))
}

// managerOptions turns off what two managers in one process would quarrel about.
func (e *Environment) managerOptions() ctrl.Options {
	return ctrl.Options{
		Scheme:                 e.Scheme,
		Controller:             config.Controller{SkipNameValidation: ptr.To(true)},
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
	}
}

// Start runs a manager until the test ends, and returns when its caches are filled. webhooks tells to wait for its webhook
// server too.
func (e *Environment) Start(t testing.TB, mgr ctrl.Manager, webhooks bool) {
	t.Helper()
	g := gomega.NewWithT(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	synced, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	g.Expect(mgr.GetCache().WaitForCacheSync(synced)).To(gomega.BeTrue(), "the caches of the manager are filled")
	if webhooks {
		g.Eventually(func() error { return mgr.GetWebhookServer().StartedChecker()(nil) }, startTimeout).Should(gomega.Succeed())
	}
}
