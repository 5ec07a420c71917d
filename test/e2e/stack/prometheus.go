package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	prometheusUnit    = "e2e-prometheus.service"
	prometheusDir     = "/var/lib/e2e-prometheus"
	prometheusPort    = "9099"
	prometheusAccount = "capi-registry-cache-metrics-reader" // of config/monitoring/manager.yaml

	prometheusTimeout = time.Minute
)

// Prometheus is Debian's Prometheus, which runs on the node of the management cluster. It scrapes as config/monitoring/prometheus.yaml says:
// the Pods of the management cluster from its node, those of workload clusters by way of their API servers. What comes from a workload
// cluster has its name in the label cluster.
type Prometheus struct {
	// API is that of Prometheus, for what the methods here do not do.
	API promv1.API

	node    Node
	targets *httptest.Server
}

// StartPrometheus starts a Prometheus that scrapes the manager and what runs in some workload clusters, of which it knows the Pods that
// come and go while this process runs, and waits until it answers. One that runs already is replaced, with all that it knew.
func (s *Stack) StartPrometheus(ctx context.Context, clusters ...*Cluster) (*Prometheus, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, fmt.Errorf("test/kubernetes/install-packages.sh installs what is missing: %w", err)
	}
	p := &Prometheus{node: Node{Name: ManagementCluster + "-control-plane"}}
	if err := p.Stop(ctx); err != nil {
		return nil, err
	}
	if err := s.discover(ctx, p, clusters); err != nil {
		return nil, err
	}
	files, err := s.prometheusFiles(ctx, p.targets.URL, clusters)
	if err != nil {
		return nil, err
	}
	if err := p.install(ctx, s.paths.state("prometheus"), program, files); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, s.reach(ctx, p)
}

// Stop ends Prometheus and removes what it knew.
func (p *Prometheus) Stop(ctx context.Context) error {
	if p.targets != nil {
		p.targets.Close()
	}
	_, err := p.node.Exec(ctx, "sh", "-c", "systemctl stop "+prometheusUnit+" 2>/dev/null; systemctl reset-failed "+prometheusUnit+" 2>/dev/null; rm -rf "+prometheusDir)
	return err
}

// discover tells Prometheus of the Pods of all clusters.
func (s *Stack) discover(ctx context.Context, p *Prometheus, clusters []*Cluster) error {
	gateway, err := docker(ctx, "network", "inspect", Network, "--format", `{{range .IPAM.Config}}{{.Gateway}} {{end}}`)
	if err != nil {
		return err
	}
	known := map[string]client.Reader{"": s.Client}
	for _, c := range clusters {
		known[c.Name] = c.Client
	}
	p.targets, err = serveTargets(firstIPv4(strings.Fields(gateway)), known)
	return err
}

// Query is an instant query. An answer that is a scalar is a sample without labels.
func (p *Prometheus) Query(ctx context.Context, expr string) (model.Vector, error) {
	answer, warnings, err := p.API.Query(ctx, expr, time.Now())
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("query %s: %s", expr, strings.Join(warnings, "; "))
	}
	switch value := answer.(type) {
	case model.Vector:
		return value, nil
	case *model.Scalar:
		return model.Vector{{Metric: model.Metric{}, Value: value.Value, Timestamp: value.Timestamp}}, nil
	default:
		return nil, fmt.Errorf("query %s: the answer is a %s; accepted are a vector and a scalar", expr, answer.Type())
	}
}

// QueryRange is a query for each step of a time.
func (p *Prometheus) QueryRange(ctx context.Context, expr string, r promv1.Range) (model.Matrix, error) {
	answer, warnings, err := p.API.QueryRange(ctx, expr, r)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	matrix, ok := answer.(model.Matrix)
	if len(warnings) > 0 || !ok {
		return nil, fmt.Errorf("query %s: the answer is a %s, warnings %q; accepted is a matrix", expr, answer.Type(), warnings)
	}
	return matrix, nil
}

// Down are the targets that were not scraped the last time, each with the reason, and how many there are in all.
func (p *Prometheus) Down(ctx context.Context) (down []string, total int, err error) {
	targets, err := p.API.Targets(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("targets of Prometheus: %w", err)
	}
	for _, t := range targets.Active {
		if t.Health != promv1.HealthGood {
			down = append(down, fmt.Sprintf("%s is %s: %s", t.ScrapeURL, t.Health, t.LastError))
		}
	}
	return down, len(targets.Active), nil
}

// prometheusFiles are the configuration and what it names, by their names in prometheusDir.
func (s *Stack) prometheusFiles(ctx context.Context, targets string, clusters []*Cluster) (map[string][]byte, error) {
	base, err := os.ReadFile(s.paths.in("config", "monitoring", "prometheus.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of Prometheus: %w", err)
	}
	token, err := s.metricsToken(ctx)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{tokenFile: token}
	var workloads []scraped
	for _, c := range clusters {
		files[c.Name+".ca"], files[c.Name+".crt"], files[c.Name+".key"] = c.Config.CAData, c.Config.CertData, c.Config.KeyData
		workloads = append(workloads, scraped{name: c.Name, host: c.Config.Host})
	}
	files["prometheus.yaml"], err = prometheusConfig(base, prometheusDir, targets, workloads)
	return files, err
}

// metricsToken is a token of the account that config/monitoring makes for whoever scrapes the manager.
func (s *Stack) metricsToken(ctx context.Context) ([]byte, error) {
	if err := s.applyAccount(ctx); err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: managerNamespace, Name: prometheusAccount}}
	day := int64(24 * time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	if err := s.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("asking for a token of %s: %w", prometheusAccount, err)
	}
	return []byte(request.Status.Token), nil
}

// applyAccount applies what config/monitoring has for the manager, but for the kinds of Prometheus' operator, which is not there.
func (s *Stack) applyAccount(ctx context.Context) error {
	data, err := os.ReadFile(s.paths.in("config", "monitoring", "manager.yaml"))
	if err != nil {
		return fmt.Errorf("reading objects: %w", err)
	}
	objects, err := decode(data)
	if err != nil {
		return err
	}
	for _, u := range objects {
		if strings.HasPrefix(u.GetAPIVersion(), "monitoring.coreos.com/") {
			continue
		}
		if err := apply(ctx, s.Client, u); err != nil {
			return err
		}
	}
	return nil
}

// install brings program and files onto the node, by way of a directory of this host.
func (p *Prometheus) install(ctx context.Context, dir, program string, files map[string][]byte) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("preparing Prometheus: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("preparing Prometheus: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("preparing Prometheus: %w", err)
		}
	}
	if _, err := p.node.Exec(ctx, "mkdir", "-p", prometheusDir); err != nil {
		return err
	}
	if _, err := docker(ctx, "cp", dir+"/.", p.node.Name+":"+prometheusDir); err != nil {
		return err
	}
	_, err := docker(ctx, "cp", "-L", program, p.node.Name+":"+prometheusDir+"/prometheus")
	return err
}

// start runs it as a unit of the node, so that its log is in the journal and it ends with the node.
func (p *Prometheus) start(ctx context.Context) error {
	_, err := p.node.Exec(ctx, "systemd-run", "--quiet", "--unit="+prometheusUnit, prometheusDir+"/prometheus",
		"--config.file="+prometheusDir+"/prometheus.yaml", "--storage.tsdb.path="+prometheusDir+"/data", "--web.listen-address=:"+prometheusPort)
	return err
}

// reach waits until Prometheus answers.
func (s *Stack) reach(ctx context.Context, p *Prometheus) error {
	address, err := s.managementAddress(ctx)
	if err != nil {
		return err
	}
	url := "http://" + net.JoinHostPort(address, prometheusPort)
	made, err := api.NewClient(api.Config{Address: url})
	if err != nil {
		return fmt.Errorf("making a client of Prometheus: %w", err)
	}
	p.API = promv1.NewAPI(made)
	err = s.Progress.Until(ctx, prometheusTimeout, "Prometheus", func(ctx context.Context) string {
		return notReady(ctx, http.DefaultClient, url+"/-/ready")
	})
	if err != nil {
		log, _ := p.node.Exec(ctx, "journalctl", "-u", prometheusUnit, "-n", "20", "--no-pager", "-o", "cat")
		return fmt.Errorf("%w: %s", err, tail(log, 2000))
	}
	return nil
}
