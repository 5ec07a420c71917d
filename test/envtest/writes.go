package envtest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/onsi/gomega"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// Writes returns how many requests of a verb that writes the API server has served for each of the resources
// (services, registrycaches, …), by its own count. Requests that changed nothing count too.
func (e *Environment) Writes(t *testing.T, resources ...string) map[string]float64 {
	t.Helper()
	g := gomega.NewWithT(t)
	client, err := kubernetes.NewForConfig(e.Config)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	text, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	g.Expect(err).NotTo(gomega.HaveOccurred())
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	g.Expect(err).NotTo(gomega.HaveOccurred())

	writes := map[string]float64{}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if slices.Contains(resources, labels["resource"]) && slices.Contains([]string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}, labels["verb"]) {
			writes[fmt.Sprintf("%s %s", labels["verb"], labels["resource"])] += metric.GetCounter().GetValue()
		}
	}
	return writes
}
