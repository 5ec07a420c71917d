package monitoring_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// job is what is held against Pods of a job of prometheus.yaml.
type job struct {
	Name        string `json:"job_name"`
	HonorLabels bool   `json:"honor_labels"`
	Discoveries []struct {
		Role      string `json:"role"`
		Selectors []struct {
			Role  string `json:"role"`
			Label string `json:"label"`
		} `json:"selectors"`
	} `json:"kubernetes_sd_configs"`
	Rules []struct {
		Source []string `json:"source_labels"`
		Target string   `json:"target_label"`
		Action string   `json:"action"`
		Regex  string   `json:"regex"`
	} `json:"relabel_configs"`
}

// TestThePlainConfigurationSelectsTheSamePods looks at the part of prometheus.yaml that Debian's promtool does not know, as it is built
// without Kubernetes' service discovery; the rest it checks in test/e2e/stack.
func TestThePlainConfigurationSelectsTheSamePods(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", "prometheus.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	config := struct {
		Scrapes []job `json:"scrape_configs"`
	}{}
	g.Expect(yaml.Unmarshal(content, &config)).To(Succeed())
	cache, nodeSync := pods(t)
	manager := deployment(t).Spec.Template
	want := map[string]labels.Set{
		"registry-cache": cache.Labels, "registry-cache-node-sync": nodeSync.Labels, "registry-cache-manager": manager.Labels,
	}
	g.Expect(config.Scrapes).To(HaveLen(len(want)))
	for _, j := range config.Scrapes {
		g.Expect(want).To(HaveKey(j.Name))
		g.Expect(j.Discoveries).To(HaveLen(1))
		g.Expect(j.Discoveries[0].Role).To(Equal("pod"))
		g.Expect(j.Discoveries[0].Selectors).To(HaveLen(1))
		selector, err := labels.Parse(j.Discoveries[0].Selectors[0].Label)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(selector.Matches(want[j.Name])).To(BeTrue(), j.Name)
		g.Expect(j.HonorLabels).To(Equal(j.Name == "registry-cache-manager"))
		var targets []string
		for _, r := range j.Rules {
			targets = append(targets, r.Target)
			if r.Source[0] == "__meta_kubernetes_pod_container_port_name" {
				g.Expect(port(manager, r.Regex)).NotTo(BeZero(), j.Name)
			}
		}
		g.Expect(targets).To(ContainElements("namespace", "pod", "node"), j.Name)
	}
}
