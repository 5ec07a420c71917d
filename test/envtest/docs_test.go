package envtest_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// instead are parts of commands that are not run as they are written, with what is run.
var instead = []struct{ written, run, because string }{
	{"kubectl apply -f -\n", "grep -c registry.example.com\n", "the end of an installation: it needs cert-manager, and would rule the API server that all tests share"},
	{"registry-cache status --all-namespaces", "registry-cache status -A", "it changes nothing"},
	{"--all-namespaces", "--all-namespaces --dry-run=server", "other tests have RegistryCaches too"},
	{"kubectl registry-cache doctor", "! kubectl registry-cache doctor", "no manager is installed here, which it says"},
	{"kubectl registry-cache savings my-cluster", "kubectl registry-cache savings my-cluster --help", "no Pod of a cache runs here"},
	{"--data user-data", "--data kubeconfig || test $? = 3", "any file does: it is passed through"},
}

// absent are the names of objects that commands ask for and that are not there, as no Pod runs here. The answer is that they are not found.
var absent = []string{"registry-docker-io-0", "capi-registry-cache-controller-manager", "capi-registry-cache-system"}

// TestDocCommandsOfKubectlWork runs those of each page, in order, in a namespace with the Cluster my-cluster and its RegistryCache.
func TestDocCommandsOfKubectlWork(t *testing.T) {
	t.Parallel()
	env.InstallPrometheusOperatorCRDs(t) // readers of docs/monitoring.md have them
	pages, err := docs.Read("../..")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	folder := plugin(t)
	for _, p := range pages {
		if !slices.ContainsFunc(p.Commands(), func(c docs.Command) bool { return c.Program() == "kubectl" }) {
			continue
		}
		t.Run(p.Path, func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			r.exports = "export PATH=" + folder + ":$PATH\n"
			for _, c := range p.Commands() {
				r.types(c, p.Where(c.Line))
			}
		})
	}
}

// reader does what a page says.
type reader struct {
	*WithT
	t         *testing.T
	namespace string
	shell     *envtest.Shell
	exports   string
}

func newReader(t *testing.T) *reader {
	r := &reader{WithT: NewWithT(t), t: t, namespace: env.CreateNamespace(t)}
	r.shell = env.Shell(t, r.namespace)
	env.CreateCluster(t, r.namespace, "my-cluster")
	// Paused, so that no manager of another test has a say.
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{
		Namespace: r.namespace, Name: "my-cluster", Annotations: map[string]string{clusterv1.PausedAnnotation: ""},
	}}
	rc.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io"}}
	r.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	for _, file := range []string{"ca.crt", "bundle.crt"} { // what pages suppose that a reader has
		r.Expect(os.WriteFile(filepath.Join(r.shell.Dir, file), []byte("certificates"), 0o600)).To(Succeed())
	}
	_, err := r.shell.Run(t, "cp kubeconfig my-cluster.kubeconfig") // from the quick start
	r.Expect(err).NotTo(HaveOccurred())
	return r
}

// plugin builds the plugin of kubectl, and returns the folder that it is in.
func plugin(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "kubectl-registry_cache"), "../../cmd/kubectl-registry_cache").CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(out))
	return folder
}

func (r *reader) types(c docs.Command, where string) {
	r.t.Helper()
	if c.Program() == "export" {
		r.exports += c.Text + "\n"
	}
	if c.Program() != "kubectl" {
		return
	}
	r.controllerWorks()
	command := c.Text + "\n"
	for _, i := range instead {
		command = strings.ReplaceAll(command, i.written, i.run)
	}
	if _, err := r.shell.Run(r.t, r.exports+command); err != nil {
		match := regexp.MustCompile(`"([a-z0-9-]+)" not found`).FindStringSubmatch(err.Error())
		r.Expect(match).NotTo(BeNil(), "%s: %s\n%v", where, c.Text, err)
		r.Expect(absent).To(ContainElement(match[1]), "%s: %s\n%v", where, c.Text, err)
	}
}

// controllerWorks is what would have happened since the last command.
func (r *reader) controllerWorks() {
	r.t.Helper()
	rc := &v1alpha1.RegistryCache{}
	err := env.Client.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "my-cluster"}, rc)
	if apierrors.IsNotFound(err) {
		return
	}
	r.Expect(err).NotTo(HaveOccurred())
	before := rc.DeepCopy()
	conditions.Set(rc, metav1.Condition{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, Reason: "Ready"})
	rc.Status.Nodes = &v1alpha1.NodesStatus{Total: ptr.To[int32](3), Configured: ptr.To[int32](3)}
	rc.Status.Summary = v1alpha1.Summary{Upstreams: "docker.io,quay.io", Caches: "2/2", Nodes: "3/3"}
	r.Expect(env.Client.Status().Patch(r.t.Context(), rc, client.MergeFrom(before))).To(Succeed())
}

// TestDocNamesOfTheInstallationAreRight guards the list above.
func TestDocNamesOfTheInstallationAreRight(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	manifests, err := env.Shell(t, metav1.NamespaceDefault).Run(t, "kubectl kustomize config/default")
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range absent[1:] {
		g.Expect(manifests).To(MatchRegexp(`(?m)^  name: ` + name + `$`))
	}
}

// TestDocKubectlGetShowsWhatTheQuickStartShows compares the columns, and all of the line but its age.
func TestDocKubectlGetShowsWhatTheQuickStartShows(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	r.controllerWorks()
	pages, err := docs.Read("../..")
	r.Expect(err).NotTo(HaveOccurred())
	var shown []string
	for _, p := range pages {
		for _, b := range p.Blocks {
			if p.Path == "docs/quickstart.md" && strings.HasPrefix(b.Text, "NAME ") {
				shown = strings.Fields(b.Text)
			}
		}
	}
	out, err := r.shell.Run(t, "kubectl get regcache")
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(strings.Fields(out)).To(HaveLen(12))
	r.Expect(strings.Fields(out)[:11]).To(Equal(shown[:11]))
	out, err = r.shell.Run(t, "kubectl explain registrycache.spec.caches.garbageCollection.ttl")
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(out).To(And(ContainSubstring("ttl <string>"), ContainSubstring("Default: 168h.")))
}

// TestDocYAMLIsAccepted creates what pages show of our kinds, in a dry run with strict validation. Fragments that begin with the spec of a
// RegistryCache are completed; everything else has to be YAML.
func TestDocYAMLIsAccepted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := env.CreateNamespace(t)
	strict := client.WithFieldValidation(client.NewDryRunClient(env.Client), metav1.FieldValidationStrict)
	pages, err := docs.Read("../..")
	g.Expect(err).NotTo(HaveOccurred())
	accepted := 0
	for _, p := range pages {
		for _, b := range p.Blocks {
			if b.Language != "yaml" {
				continue
			}
			for _, object := range documents(t, p.Where(b.Line), b.Text) {
				if !complete(object) {
					continue
				}
				object.SetNamespace(namespace)
				if err := strict.Create(t.Context(), object); err != nil {
					t.Errorf("%s: %v", p.Where(b.Line), err)
				}
				accepted++
			}
		}
	}
	g.Expect(accepted).To(BeNumerically(">", 4))
}

func documents(t *testing.T, where, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var content any
		if err := decoder.Decode(&content); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Errorf("%s: %v", where, err)
			return all
		}
		if object, ok := content.(map[string]any); ok {
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
}

// complete tells whether it is of our kinds, with what a fragment leaves out.
func complete(object *unstructured.Unstructured) bool {
	spec, _, _ := unstructured.NestedMap(object.Object, "spec")
	if _, whole := object.Object["kind"]; !whole && (spec["caches"] != nil || spec["mirrors"] != nil) {
		object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RegistryCache"))
		object.SetName("my-cluster")
	}
	return object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group
}
