package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	coreModule = "sigs.k8s.io/cluster-api"
	testModule = "sigs.k8s.io/cluster-api/test" // the Docker provider

	providerTimeout = 2 * time.Minute
)

// provider is one manager of Cluster API, run as a process of this host.
type provider struct {
	// name is the name of the process.
	name string
	// program is what test/kubernetes built for it.
	program string
	// module and dir say where its config folder is.
	module, dir string
	// webhookPort, healthPort and diagnosticsPort are fixed, so that a stack that is taken over still fits.
	webhookPort, healthPort, diagnosticsPort int
}

func providers() []provider {
	list := []provider{
		{name: "capi-core", program: "capi-core-manager", module: coreModule, dir: "core"},
		{name: "capi-bootstrap", program: "capi-kubeadm-bootstrap-manager", module: coreModule, dir: "bootstrap/kubeadm"},
		{name: "capi-control-plane", program: "capi-kubeadm-control-plane-manager", module: coreModule, dir: "controlplane/kubeadm"},
		{name: "capi-docker", program: "capd-manager", module: testModule, dir: "infrastructure/docker"},
	}
	const firstPort = 18440
	for i := range list {
		list[i].webhookPort, list[i].healthPort, list[i].diagnosticsPort = firstPort+3*i, firstPort+3*i+1, firstPort+3*i+2
	}
	return list
}

// startProviders registers CRDs and webhooks of all providers and starts those that do not run yet.
func (s *Stack) startProviders(ctx context.Context) error {
	gateway, err := docker(ctx, "network", "inspect", Network, "--format",
		`{{range .IPAM.Config}}{{.Gateway}} {{end}}`)
	if err != nil {
		return err
	}
	address := firstIPv4(strings.Fields(gateway))
	if address == "" {
		return fmt.Errorf("the network %s has no IPv4 gateway: %q", Network, gateway)
	}
	if err := s.serveWebhooksOn(address); err != nil {
		return err
	}
	for _, p := range providers() {
		if err := s.startProvider(ctx, p, address); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (s *Stack) startProvider(ctx context.Context, p provider, address string) error {
	if err := s.register(ctx, p, address); err != nil {
		return err
	}
	if !s.runs(p.name, p.program) {
		if err := s.startProcess(p); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return s.Progress.Until(ctx, providerTimeout, p.name, func(ctx context.Context) string {
		if !s.runs(p.name, p.program) {
			cancel(fmt.Errorf("%s has ended, see %s", p.program, s.processLog(p.name)))
		}
		return notReady(ctx, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/readyz", p.healthPort))
	})
}

// serveWebhooksOn makes the certificate that the webhooks of all providers serve with, once.
func (s *Stack) serveWebhooksOn(address string) error {
	pair, err := s.authority.serve("cluster-api-webhooks", address)
	if err != nil {
		return err
	}
	return pair.write(s.paths.state("webhook-certificate"))
}

func (s *Stack) startProcess(p provider) error {
	log, err := os.OpenFile(s.processLog(p.name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(s.paths.program(p.program),
		"--webhook-cert-dir="+s.paths.state("webhook-certificate"),
		fmt.Sprintf("--webhook-port=%d", p.webhookPort),
		fmt.Sprintf("--health-addr=127.0.0.1:%d", p.healthPort),
		fmt.Sprintf("--diagnostics-address=127.0.0.1:%d", p.diagnosticsPort),
		"--insecure-diagnostics=true",
		"--skip-crd-migration-phases=StorageVersionMigration,CleanupManagedFields", // the CRDs have one version
		"--feature-gates=ClusterTopology=true,RuntimeSDK=true,KubeadmBootstrapFormatIgnition=true",
		"--v=2")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig(), "POD_NAMESPACE=default")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives a demo
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.program, err)
	}
	go func() { _ = cmd.Wait() }() // or it stays a zombie, which looks as if it ran
	return s.remember(p.name, cmd.Process.Pid)
}

func firstIPv4(addresses []string) string {
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil && ip.To4() != nil {
			return a
		}
	}
	return ""
}

// notReady says why a health endpoint does not answer with 200, "" when it does.
func notReady(ctx context.Context, c *http.Client, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := c.Do(request)
	if err != nil {
		return shorten(errors.Unwrap(err).Error(), 200)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "not ready: " + response.Status
	}
	return ""
}
