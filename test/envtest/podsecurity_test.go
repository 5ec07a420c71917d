package envtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labels of Pod Security admission (https://kubernetes.io/docs/concepts/security/pod-security-admission).
const (
	enforceLabel = "pod-security.kubernetes.io/enforce"
	warnLabel    = "pod-security.kubernetes.io/warn"

	goldenObjects = "../../templates/manifests/testdata"
)

const noCertificate = "tls: failed to find any PEM data in certificate input"

// TestCachesAreAcceptedUnderPodSecurityRestricted applies every rendered object of every golden file by a dry run, and makes the
// Pod of each StatefulSet: Pod Security refuses Pods, and only warns of what makes them.
func TestCachesAreAcceptedUnderPodSecurityRestricted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenObjects, "*.yaml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	pods := 0
	for _, file := range files {
		if filepath.Base(file) == "node-sync.yaml" || filepath.Base(file) == "names.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := NewWithT(t)
			namespace, warnings := secured(t, "restricted"), &recordedWarnings{}
			for _, object := range rendered(t, file, namespace) {
				g.Expect(dryRunApply(t, warnings, object)).To(Succeed(), "%s %s", object.GetKind(), object.GetName())
				if object.GetKind() == "StatefulSet" {
					g.Expect(env.Client.Create(t.Context(), podOf(t, object), client.DryRunAll)).To(Succeed())
					pods++
				}
			}
			// What golden files have in place of a certificate is none, and the API server looks at it.
			g.Expect(slices.DeleteFunc(warnings.all(), func(w string) bool { return w == noCertificate })).To(BeEmpty())
		})
	}
	NewWithT(t).Expect(pods).To(BeNumerically(">=", 6))
}

// TestNodeSyncNeedsAPrivilegedNamespaceOnlyForTheNodesFiles: what baseline refuses is hostPath and the type with which SELinux lets
// a Pod write there, and nothing else.
func TestNodeSyncNeedsAPrivilegedNamespaceOnlyForTheNodesFiles(t *testing.T) {
	g := NewWithT(t)
	for level, accepted := range map[string]bool{"privileged": true, "baseline": false} {
		namespace := secured(t, level)
		for _, object := range rendered(t, filepath.Join(goldenObjects, "node-sync.yaml"), namespace) {
			g.Expect(dryRunApply(t, &recordedWarnings{}, object)).To(Succeed(), "%s %s", object.GetKind(), object.GetName())
			if object.GetKind() != "DaemonSet" {
				continue
			}
			err := env.Client.Create(t.Context(), podOf(t, object), client.DryRunAll)
			if accepted {
				g.Expect(err).NotTo(HaveOccurred())
				continue
			}
			g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "the API server answers: %v", err)
			g.Expect(violations(err)).To(ConsistOf(HavePrefix("seLinuxOptions ("), HavePrefix("hostPath volumes (")))
			harmless := withoutTheNode(podOf(t, object))
			g.Expect(env.Client.Create(t.Context(), harmless, client.DryRunAll)).To(Succeed())
		}
	}
}

// secured creates a namespace at a level of Pod Security.
func secured(t *testing.T, level string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "secured-", Labels: map[string]string{enforceLabel: level, warnLabel: level},
	}}
	NewWithT(t).Expect(env.Client.Create(t.Context(), ns)).To(Succeed())
	return ns.Name
}

// rendered reads the objects of a golden file into a namespace. Addresses are those of another cluster, and left to this one.
func rendered(t *testing.T, file, namespace string) []*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(filepath.Clean(file))
	g.Expect(err).NotTo(HaveOccurred())
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			g.Expect(objects).NotTo(BeEmpty())
			return objects
		}
		g.Expect(err).NotTo(HaveOccurred())
		if object.GetKind() == "Namespace" {
			continue
		}
		object.SetNamespace(namespace)
		delete(object.Object, "status")
		for _, field := range []string{"clusterIP", "clusterIPs", "ipFamilies"} {
			unstructured.RemoveNestedField(object.Object, "spec", field)
		}
		objects = append(objects, object)
	}
}

// dryRunApply is kubectl apply --server-side --dry-run=server.
func dryRunApply(t *testing.T, warnings *recordedWarnings, object *unstructured.Unstructured) error {
	t.Helper()
	config := rest.CopyConfig(env.Config)
	config.WarningHandlerWithContext = warnings
	c, err := client.New(config, client.Options{Scheme: env.Scheme})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.DryRunAll, client.FieldOwner("test"), client.ForceOwnership)
}

// podOf is the first Pod that a StatefulSet or DaemonSet makes, with the volumes of its claims.
func podOf(t *testing.T, object *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: object.GetNamespace(), Name: object.GetName() + "-0"}}
	var template corev1.PodTemplateSpec
	convert := runtime.DefaultUnstructuredConverter.FromUnstructured
	if object.GetKind() == "DaemonSet" {
		set := &appsv1.DaemonSet{}
		NewWithT(t).Expect(convert(object.Object, set)).To(Succeed())
		template = set.Spec.Template
	} else {
		set := &appsv1.StatefulSet{}
		NewWithT(t).Expect(convert(object.Object, set)).To(Succeed())
		template = set.Spec.Template
		for _, claim := range set.Spec.VolumeClaimTemplates {
			template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + pod.Name},
			}})
		}
	}
	pod.Labels, pod.Annotations, pod.Spec = template.Labels, template.Annotations, template.Spec
	return pod
}

// withoutTheNode is a Pod without what it has of its node.
func withoutTheNode(pod *corev1.Pod) *corev1.Pod {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].HostPath != nil {
			pod.Spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
	pod.Spec.Containers[0].SecurityContext.SELinuxOptions = nil
	return pod
}

// violations are what Pod Security names, one for each of its checks.
func violations(err error) []string {
	_, list, _ := strings.Cut(err.Error(), `violates PodSecurity "baseline:latest": `)
	return strings.SplitAfter(strings.ReplaceAll(list, "), ", ")\n"), "\n")
}

// recordedWarnings are those that the API server sends along with an answer.
type recordedWarnings struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *recordedWarnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *recordedWarnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text
}
