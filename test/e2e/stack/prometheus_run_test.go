package stack

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// TestARealPrometheusFollowsTheConfiguration lets Debian's Prometheus scrape, on loopback, Pods as they are rendered, by way of what stands for the
// API server of their cluster, and a manager that wants a token.
func TestARealPrometheusFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dir := t.TempDir()
	a, err := newAuthority("cluster")
	g.Expect(err).NotTo(HaveOccurred())
	pair, err := a.serve("127.0.0.1") // for both sides
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := tls.X509KeyPair(pair.certificate, pair.key)
	g.Expect(err).NotTo(HaveOccurred())
	workload := httptest.NewUnstartedServer(http.HandlerFunc(podProxy))
	workload.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	workload.StartTLS()
	defer workload.Close()
	manager := httptest.NewTLSServer(http.HandlerFunc(guardedMetrics))
	defer manager.Close()
	targets, err := serveTargets("127.0.0.1", map[string]client.Reader{
		"": pods(managerPod(manager.Listener.Addr())), "rc-one": pods(workloadPods(g)...),
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer targets.Close()
	config, err := prometheusConfig(projectConfig(g), dir, targets.URL, []scraped{{name: "rc-one", host: workload.URL}})
	g.Expect(err).NotTo(HaveOccurred())
	for name, content := range map[string][]byte{
		"prometheus.yaml": config, tokenFile: []byte("secret"), "rc-one.ca": a.PEM, "rc-one.crt": pair.certificate, "rc-one.key": pair.key,
	} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), content, 0o600)).To(Succeed())
	}
	p := runPrometheus(t, dir)

	want := map[string]model.Metric{
		"registry_proxy_requests_total": {"cluster": "rc-one", "job": "registry-cache", "namespace": "kube-system", "pod": "registry-docker-io-0", "node": "n", "upstream": "docker.io", "instance": "10.244.0.5:5001"},
		"registry_cache_node_synced":    {"cluster": "rc-one", "job": "registry-cache-node-sync", "namespace": "kube-system", "pod": "registry-cache-node-sync-x", "node": "n", "instance": "10.244.0.6:5002"},
		"capi_registry_cache_nodes":     {"job": "registry-cache-manager", "namespace": "team", "name": "c", "pod": "manager", "node": "m", "instance": model.LabelValue(manager.Listener.Addr().String())},
	}
	g.Eventually(func(g Gomega) {
		for name, labels := range want {
			labels[model.MetricNameLabel] = model.LabelValue(name)
			found, err := p.Query(t.Context(), name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(found).To(HaveLen(1), name)
			g.Expect(found[0].Metric).To(Equal(labels))
		}
		down, total, err := p.Down(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(down).To(BeEmpty())
		g.Expect(total).To(Equal(len(want)), "no other port is a target")
	}, 30*time.Second, 500*time.Millisecond).Should(Succeed())
	sum, err := p.Query(t.Context(), "scalar(sum(up))")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sum).To(HaveLen(1))
	g.Expect(sum[0].Value).To(BeEquivalentTo(3))
	_, err = p.Query(t.Context(), "up[1m]")
	g.Expect(err).To(MatchError(ContainSubstring("accepted are a vector and a scalar")))
	matrix, err := p.QueryRange(t.Context(), "up", promv1.Range{Start: time.Now().Add(-time.Minute), End: time.Now(), Step: time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(matrix).To(HaveLen(3))
}

// podProxy answers what the API server of a cluster passes on to the ports that are right, and nothing else.
func podProxy(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/v1/namespaces/kube-system/pods/http:registry-docker-io-0:5001/proxy/metrics":
		_, _ = fmt.Fprint(w, "# TYPE registry_proxy_requests_total counter\nregistry_proxy_requests_total 3\n")
	case "/api/v1/namespaces/kube-system/pods/http:registry-cache-node-sync-x:5002/proxy/metrics":
		_, _ = fmt.Fprint(w, "# TYPE registry_cache_node_synced gauge\nregistry_cache_node_synced 1\n")
	default:
		http.NotFound(w, r)
	}
}

func guardedMetrics(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/metrics" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprint(w, "# TYPE capi_registry_cache_nodes gauge\ncapi_registry_cache_nodes{namespace=\"team\",name=\"c\"} 2\n")
}

func pods(all ...client.Object) client.Reader {
	return fake.NewClientBuilder().WithObjects(all...).Build()
}

// workloadPods are as the StatefulSet of a cache and the DaemonSet of node-sync make them, and one that has ended.
func workloadPods(g *WithT) []client.Object {
	objects, err := manifests.Objects(manifests.Values{
		Namespace: "kube-system", Name: manifests.ServiceName("docker.io"), Upstream: "docker.io", RemoteURL: "https://registry-1.docker.io", Image: "workload",
	})
	g.Expect(err).NotTo(HaveOccurred())
	var made []client.Object
	for _, o := range append(objects, manifests.NodeSyncObjects(manifests.NodeSyncValues{Namespace: "kube-system", Generation: "g"})...) {
		switch o := o.(type) {
		case *appsv1.StatefulSet:
			made = append(made, podOf(o.Spec.Template, o.Name+"-0", "10.244.0.5", corev1.PodRunning), podOf(o.Spec.Template, o.Name+"-1", "10.244.0.7", corev1.PodFailed))
		case *appsv1.DaemonSet:
			made = append(made, podOf(o.Spec.Template, o.Name+"-x", "10.244.0.6", corev1.PodRunning))
		}
	}
	return made
}

func podOf(template corev1.PodTemplateSpec, name, address string, phase corev1.PodPhase) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.Name, pod.Spec.NodeName = "kube-system", name, "n"
	pod.Status = corev1.PodStatus{PodIP: address, Phase: phase}
	return pod
}

func managerPod(address net.Addr) *corev1.Pod {
	port := address.(*net.TCPAddr).Port
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "capi-registry-cache-system", Name: "manager", Labels: map[string]string{"cluster.x-k8s.io/provider": "addon-registry-cache"}},
		Spec: corev1.PodSpec{NodeName: "m", Containers: []corev1.Container{{Name: "manager", Ports: []corev1.ContainerPort{
			{Name: "healthz", ContainerPort: 9440}, {Name: "metrics", ContainerPort: int32(port)},
		}}}},
		Status: corev1.PodStatus{PodIP: "127.0.0.1", Phase: corev1.PodRunning},
	}
}

// runPrometheus runs it on loopback until the test ends.
func runPrometheus(t *testing.T, dir string) *Prometheus {
	t.Helper()
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	var log strings.Builder
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stderr = &log
	g.Expect(cmd.Start()).To(Succeed(), "test/kubernetes/install-packages.sh installs it")
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	made, err := api.NewClient(api.Config{Address: "http://" + address})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() string { return notReady(t.Context(), http.DefaultClient, "http://"+address+"/-/ready") }, 30*time.Second).Should(BeEmpty())
	return &Prometheus{API: promv1.NewAPI(made)}
}
