package monitoring_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

const root = "../.."

// monitor is what is looked at of a PodMonitor or ServiceMonitor. The rest of them the API server checks, with the operator's definitions
// (test/envtest).
type monitor struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
		Endpoints           []endpoint           `json:"endpoints"`
	} `json:"spec"`
}

type endpoint struct {
	Port          string `json:"port"`
	Path          string `json:"path"`
	HonorLabels   bool   `json:"honorLabels"`
	Authorization struct {
		Credentials corev1.SecretKeySelector `json:"credentials"`
	} `json:"authorization"`
	Relabelings []struct {
		TargetLabel string `json:"targetLabel"`
		Replacement string `json:"replacement"`
	} `json:"relabelings"`
}

// read reads an object of a kind from a file of config/monitoring.
func read[T any](t *testing.T, file, kind, name string) *T {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", file))
	g.Expect(err).NotTo(HaveOccurred())
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		meta := metav1.PartialObjectMetadata{}
		g.Expect(yaml.Unmarshal(document, &meta)).To(Succeed())
		if meta.Kind == kind && meta.Name == name {
			found := new(T)
			g.Expect(yaml.Unmarshal(document, found)).To(Succeed(), "%s %s", kind, name)
			return found
		}
	}
	t.Fatalf("%s has no %s %s", file, kind, name)
	return nil
}

// pods are the Pods that a workload cluster has: of a cache, and of node-sync.
func pods(t *testing.T) (cache, nodeSync corev1.PodTemplateSpec) {
	t.Helper()
	g := NewWithT(t)
	objects, err := manifests.Objects(manifests.Values{
		Namespace: "kube-system", Name: manifests.ServiceName("docker.io"), Upstream: "docker.io", RemoteURL: "https://registry-1.docker.io", Image: "workload",
	})
	g.Expect(err).NotTo(HaveOccurred())
	for _, o := range append(objects, manifests.NodeSyncObjects(manifests.NodeSyncValues{Namespace: "kube-system", Generation: "g"})...) {
		switch o := o.(type) {
		case *appsv1.StatefulSet:
			cache = o.Spec.Template
		case *appsv1.DaemonSet:
			nodeSync = o.Spec.Template
		}
	}
	g.Expect(cache.Labels).NotTo(BeEmpty())
	g.Expect(nodeSync.Labels).NotTo(BeEmpty())
	return cache, nodeSync
}

// port is the number of a port of a Pod by its name.
func port(template corev1.PodTemplateSpec, name string) int32 {
	for _, p := range template.Spec.Containers[0].Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

func TestPodMonitorsSelectTheirPods(t *testing.T) {
	cache, nodeSync := pods(t)
	for name, tc := range map[string]struct {
		selected, other corev1.PodTemplateSpec
		targetLabels    []string
	}{
		"registry-cache":           {cache, nodeSync, []string{"upstream", "node", "job"}},
		"registry-cache-node-sync": {nodeSync, cache, []string{"node", "job"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m := read[monitor](t, "podmonitors.yaml", "PodMonitor", name)
			selector, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(selector.Matches(labels.Set(tc.selected.Labels))).To(BeTrue())
			g.Expect(selector.Matches(labels.Set(tc.other.Labels))).To(BeFalse())
			g.Expect(m.Spec.PodMetricsEndpoints).To(HaveLen(1))
			endpoint := m.Spec.PodMetricsEndpoints[0]
			annotations := tc.selected.Annotations
			g.Expect(annotations).To(HaveKeyWithValue("prometheus.io/port", itoa(port(tc.selected, endpoint.Port))), "both ways of scraping ask the same port")
			g.Expect(annotations).To(HaveKeyWithValue("prometheus.io/path", endpoint.Path))
			g.Expect(annotations).To(HaveKeyWithValue("prometheus.io/scheme", "http"))
			g.Expect(annotations).To(HaveKeyWithValue("prometheus.io/scrape", "true"))
			var targets []string
			for _, r := range endpoint.Relabelings {
				targets = append(targets, r.TargetLabel)
				if r.TargetLabel == "job" {
					g.Expect(r.Replacement).To(Equal(name), "the name of the job in prometheus.yaml")
				}
			}
			g.Expect(targets).To(ConsistOf(tc.targetLabels))
		})
	}
	NewWithT(t).Expect(cache.Annotations).To(HaveKeyWithValue(v1alpha1.UpstreamAnnotation, "docker.io"))
}

func TestServiceMonitorSelectsTheManager(t *testing.T) {
	g := NewWithT(t)
	m := read[monitor](t, "manager.yaml", "ServiceMonitor", "capi-registry-cache-manager")
	service := read[corev1.Service](t, "manager.yaml", "Service", "capi-registry-cache-metrics")
	secret := read[corev1.Secret](t, "manager.yaml", "Secret", "capi-registry-cache-metrics-reader")
	role := read[rbacv1.ClusterRole](t, "manager.yaml", "ClusterRole", "capi-registry-cache-metrics-reader")
	binding := read[rbacv1.ClusterRoleBinding](t, "manager.yaml", "ClusterRoleBinding", "capi-registry-cache-metrics-reader")
	account := read[corev1.ServiceAccount](t, "manager.yaml", "ServiceAccount", "capi-registry-cache-metrics-reader")

	manager := deployment(t)
	g.Expect(manager.Namespace).To(Equal(service.Namespace))
	g.Expect(labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(manager.Spec.Template.Labels))).To(BeTrue())
	g.Expect(port(manager.Spec.Template, service.Spec.Ports[0].TargetPort.StrVal)).To(Equal(service.Spec.Ports[0].Port))

	selector, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(selector.Matches(labels.Set(service.Labels))).To(BeTrue())
	for _, object := range envtest.Kustomize(t, "config/default") {
		if object.GetKind() == "Service" {
			ports, _, _ := unstructured.NestedSlice(object.Object, "spec", "ports")
			g.Expect(ports).NotTo(ContainElement(HaveKeyWithValue("name", m.Spec.Endpoints[0].Port)), "the ServiceMonitor takes %s too", object.GetName())
		}
	}
	g.Expect(m.Spec.Endpoints).To(HaveLen(1))
	endpoint := m.Spec.Endpoints[0]
	g.Expect(endpoint.Port).To(Equal(service.Spec.Ports[0].Name))
	g.Expect(endpoint.HonorLabels).To(BeTrue())
	g.Expect(endpoint.Authorization.Credentials.Name).To(Equal(secret.Name))
	g.Expect(endpoint.Authorization.Credentials.Key).To(Equal(corev1.ServiceAccountTokenKey))
	g.Expect(m.Namespace).To(Equal(secret.Namespace), "the operator reads Secrets beside the ServiceMonitor only")
	g.Expect(secret.Annotations).To(HaveKeyWithValue(corev1.ServiceAccountNameKey, account.Name))
	g.Expect(role.Rules).To(ConsistOf(rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}))
	g.Expect(binding.RoleRef.Name).To(Equal(role.Name))
	g.Expect(binding.Subjects).To(ConsistOf(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}))
}

// deployment is the manager as it is shipped.
func deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	for _, object := range envtest.Kustomize(t, "config/default") {
		if object.GetKind() == "Deployment" {
			found := &appsv1.Deployment{}
			NewWithT(t).Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, found)).To(Succeed())
			return found
		}
	}
	t.Fatal("config/default has no Deployment")
	return nil
}
