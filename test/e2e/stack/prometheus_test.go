package stack

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/test/promtool"
)

func projectConfig(g *WithT) []byte {
	base, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "monitoring", "prometheus.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	return base
}

func TestPrometheusTakesTheConfiguration(t *testing.T) {
	g := NewWithT(t)
	config, err := prometheusConfig(projectConfig(g), "/dir", "http://192.0.2.1:9/targets", []scraped{
		{name: "rc-one", host: "https://192.0.2.2:6443"}, {name: "rc-two", host: "https://192.0.2.3:6443"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	g.Expect(os.WriteFile(file, config, 0o600)).To(Succeed())
	g.Expect(promtool.CheckConfig(t.Context(), file)).To(Succeed())

	made := struct {
		Scrapes []struct {
			Name  string   `json:"job_name"`
			Rules []object `json:"relabel_configs"`
			URLs  []object `json:"http_sd_configs"`
		} `json:"scrape_configs"`
	}{}
	g.Expect(yaml.Unmarshal(config, &made)).To(Succeed())
	var names []string
	for _, s := range made.Scrapes {
		names = append(names, s.Name)
		g.Expect(s.URLs).To(HaveLen(1))
	}
	g.Expect(names).To(ConsistOf("registry-cache/rc-one", "registry-cache/rc-two", "registry-cache-node-sync/rc-one", "registry-cache-node-sync/rc-two", managerJob))
	g.Expect(made.Scrapes[0].Rules).To(ContainElement(object{"replacement": "192.0.2.2:6443", "target_label": "__address__"}))
	g.Expect(made.Scrapes[0].URLs[0]["url"]).To(Equal("http://192.0.2.1:9/targets?cluster=rc-one&label=app.kubernetes.io%2Fname%3Dregistry-cache"))
}

func TestPrometheusConfigRejectsWhatCannotBeDiscovered(t *testing.T) {
	g := NewWithT(t)
	_, err := prometheusConfig([]byte("global: {}\nscrape_configs: [{job_name: registry-cache-manager, kubernetes_sd_configs: [{role: node}]}]"), "/dir", "http://t", nil)
	g.Expect(err).To(MatchError(ContainSubstring("accepted is one, of role pod")))
}

func TestTargetsOfAPodAreItsPorts(t *testing.T) {
	g := NewWithT(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "a", Annotations: map[string]string{"prometheus.io/port": "2"}, Labels: map[string]string{"app.kubernetes.io/name": "x"}},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "one", ContainerPort: 1}, {Name: "two", ContainerPort: 2}}}}},
	}
	g.Expect(targetsOf(pod)).To(BeEmpty(), "it has no address yet")
	pod.Status = corev1.PodStatus{PodIP: "fd00::1", Phase: corev1.PodRunning}
	targets := targetsOf(pod)
	g.Expect(targets).To(HaveLen(2))
	g.Expect(targets[1]).To(Equal(targetGroup{Targets: []string{"[fd00::1]:2"}, Labels: map[string]string{
		"__meta_kubernetes_namespace":                                "kube-system",
		"__meta_kubernetes_pod_name":                                 "a",
		"__meta_kubernetes_pod_ip":                                   "fd00::1",
		"__meta_kubernetes_pod_phase":                                "Running",
		"__meta_kubernetes_pod_node_name":                            "n",
		"__meta_kubernetes_pod_container_name":                       "c",
		"__meta_kubernetes_pod_container_port_name":                  "two",
		"__meta_kubernetes_pod_container_port_number":                "2",
		"__meta_kubernetes_pod_label_app_kubernetes_io_name":         "x",
		"__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name":  "true",
		"__meta_kubernetes_pod_annotation_prometheus_io_port":        "2",
		"__meta_kubernetes_pod_annotationpresent_prometheus_io_port": "true",
	}}))
}
