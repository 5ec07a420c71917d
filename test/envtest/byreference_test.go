package envtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vincent-petithory/dataurl"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controlplane/kubeadm/pkg/desiredstate"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// contentFrom is the documented template for a namespace, by kind; clusterctl replaces the variables in the same way.
func contentFrom(g *WithT, namespace string) map[string]*unstructured.Unstructured {
	return fromTemplate(g, cluster.ContentFrom, namespace)
}

func fromTemplate(g *WithT, template, namespace string) map[string]*unstructured.Unstructured {
	variables := map[string]string{
		"CLUSTER_NAME": "c1", "NAMESPACE": namespace, "KUBERNETES_VERSION": envtest.KubernetesVersion,
		"CONTROL_PLANE_MACHINE_COUNT": "1", "WORKER_MACHINE_COUNT": "2",
	}
	text := os.Expand(template, func(name string) string {
		g.Expect(variables).To(HaveKey(name))
		return variables[name]
	})
	objects := map[string]*unstructured.Unstructured{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		g.Expect(err).NotTo(HaveOccurred())
		objects[object.GetKind()] = object
	}
}

// strictly converts an object of the template; fields that its type does not have are errors.
func strictly[T any](g *WithT, object *unstructured.Unstructured) *T {
	into := new(T)
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)).To(Succeed())
	return into
}

// forgetTimeout is short: no node here has a kubelet, so none ever says that it has forgotten the caches.
const forgetTimeout = 3 * time.Second

const unitPath = "/etc/systemd/system/" + payload.UnitName

func TestTemplatesOfClustersAreValid(t *testing.T) {
	for name, template := range map[string]string{"classic": cluster.Classic, "content from": cluster.ContentFrom} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			objects := fromTemplate(g, template, env.CreateNamespace(t))
			strict := client.WithFieldValidation(env.Client, metav1.FieldValidationStrict)
			for kind, object := range objects {
				if !strings.HasPrefix(kind, "Dev") {
					g.Expect(strict.Create(t.Context(), object.DeepCopy(), client.DryRunAll)).To(Succeed(), kind)
				}
			}
			g.Expect(strictly[clusterv1.Cluster](g, objects["Cluster"]).Name).To(Equal(strictly[v1alpha1.RegistryCache](g, objects["RegistryCache"]).Name))
		})
	}
}

func TestTheContentFromTemplateNamesThePayload(t *testing.T) {
	g := NewWithT(t)
	objects := contentFrom(g, env.CreateNamespace(t))
	g.Expect(strictly[clusterv1.MachineDeployment](g, objects["MachineDeployment"]).Spec.Template.Spec.Bootstrap.ConfigRef.Name).
		To(Equal(objects["KubeadmConfigTemplate"].GetName()))
	for _, spec := range []bootstrapv1.KubeadmConfigSpec{
		strictly[controlplanev1.KubeadmControlPlane](g, objects["KubeadmControlPlane"]).Spec.KubeadmConfigSpec,
		strictly[bootstrapv1.KubeadmConfigTemplate](g, objects["KubeadmConfigTemplate"]).Spec.Template.Spec,
	} {
		g.Expect(spec.Files).To(ConsistOf(bootstrapv1.File{
			Path: payload.ArchivePath, Owner: "root:root", Permissions: "0644", Encoding: bootstrapv1.Base64,
			ContentFrom: bootstrapv1.FileSource{Secret: bootstrapv1.SecretFileSource{Name: v1alpha1.NodePayloadName("c1"), Key: v1alpha1.NodePayloadKey}},
		}))
		g.Expect(spec.PreKubeadmCommands).To(Equal([]string{payload.InstallCommand(payload.UnitName)}))
	}
}

// TestMachinesTakeThePayloadByReferenceWithoutTheWebhook runs the whole manager and Cluster API's own controllers on the documented
// template. It guards I1: only where there never was a RegistryCache does a Machine wait.
func TestMachinesTakeThePayloadByReferenceWithoutTheWebhook(t *testing.T) {
	g := NewWithT(t)
	mgr := env.NewManager(t, env.WithoutWebhook)
	g.Expect(controllers.SetupWithManager(t.Context(), mgr, controllers.Options{RegistryCacheConcurrency: 1, ClusterCacheConcurrency: 1, NodeForgetTimeout: forgetTimeout})).To(Succeed())
	env.Start(t, mgr, true)
	env.StartCAPI(t)
	namespace := env.CreateNamespace(t)
	objects := contentFrom(g, namespace)
	cluster := env.CreateCluster(t, namespace, "c1", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"}
	})
	kcp := strictly[controlplanev1.KubeadmControlPlane](g, objects["KubeadmControlPlane"])
	first := env.CreateMachine(t, cluster, "cp-1", true, func(config *bootstrapv1.KubeadmConfig) {
		made, err := desiredstate.ComputeDesiredKubeadmConfig(kcp, cluster, false, config.Name, nil)
		g.Expect(err).NotTo(HaveOccurred())
		config.Spec = made.Spec
	})
	waitsForTheSecret(t, namespace, "cp-1")

	rc := strictly[v1alpha1.RegistryCache](g, objects["RegistryCache"])
	rc.Spec.Namespace = "caches-" + namespace
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	data := bootstrapData(t, namespace, "cp-1").Data["value"]
	g.Expect(env.Client.Get(t.Context(), key(rc), rc)).To(Succeed())
	g.Expect(rc.Status.Caches).To(HaveEach(HaveField("Endpoint", Not(BeEmpty()))))
	t.Run("control plane", func(t *testing.T) { expectUpToDate(t, rc, data, expectPayloadOnce) })
	env.JoinNode(t, first)

	set := func(name string, format bootstrapv1.Format) {
		template := strictly[bootstrapv1.KubeadmConfigTemplate](g, objects["KubeadmConfigTemplate"])
		template.Name, template.Spec.Template.Spec.Format = name, format
		env.CreateMachineSet(t, cluster, template)
	}
	set("cloud", bootstrapv1.CloudConfig)
	set("ignition", bootstrapv1.Ignition)
	t.Run("workers", func(t *testing.T) { expectUpToDate(t, rc, dataOfSet(t, namespace, "cloud"), expectPayloadOnce) })
	t.Run("workers of Ignition", func(t *testing.T) { expectUpToDate(t, rc, dataOfSet(t, namespace, "ignition"), expectIgnitionOnce) })

	g.Expect(env.Client.Delete(t.Context(), rc)).To(Succeed())
	g.Eventually(func() error { return env.Client.Get(t.Context(), key(rc), rc) }, timeout).Should(MatchError(ContainSubstring("not found")))
	set("late", bootstrapv1.CloudConfig)
	t.Run("workers after the RegistryCache is gone", func(t *testing.T) {
		g := NewWithT(t)
		parsed := parse(g, dataOfSet(t, namespace, "late"))
		g.Expect(installed(t, parsed)).To(BeEmpty())
		expectUnitStartedBeforeKubeadm(g, parsed.RunCmd)
	})
	g.Expect(env.AdmissionRequests(namespace)).To(BeEmpty(), "without the webhook")
}

// waitsForTheSecret returns when the provider has seen that there is no Secret.
func waitsForTheSecret(t *testing.T, namespace, name string) {
	t.Helper()
	g := NewWithT(t)
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	g.Eventually(func(g Gomega) {
		g.Expect(env.Client.Get(t.Context(), key(config), config)).To(Succeed())
		condition := conditions.Get(config, bootstrapv1.KubeadmConfigDataSecretAvailableCondition)
		g.Expect(condition).NotTo(BeNil())
		g.Expect(condition.Message).To(ContainSubstring("secret not found"))
	}, timeout).Should(Succeed())
}

// expectUpToDate holds data to have the payload once: as it is, and as the webhook would bring it up to date (I4).
func expectUpToDate(t *testing.T, rc *v1alpha1.RegistryCache, data []byte, once func(*testing.T, *v1alpha1.RegistryCache, []byte)) {
	t.Helper()
	g := NewWithT(t)
	once(t, rc, data)
	newer := rc.DeepCopy()
	newer.Status.Caches = newer.Status.Caches[:1]
	newer.Status.Caches[0].Endpoint = "http://10.9.9.9:5000"
	result := webhooks.Inject(newer, data, "", limits)
	g.Expect(result.Injected).To(BeTrue(), result.Reason)
	once(t, newer, result.Data)
	g.Expect(webhooks.Inject(newer, result.Data, "", limits).Data).To(Equal(result.Data))
}

// ignitionConfig is what these tests read of Ignition 2.3.
type ignitionConfig struct {
	Storage struct {
		Files []struct {
			Path     string
			Mode     *int
			Contents struct{ Source string }
		}
	}
	Systemd struct {
		Units []struct {
			Name, Contents string
			Enabled        bool
		}
	}
}

// expectIgnitionOnce is expectPayloadOnce for Ignition: the unit is a file of the archive or a unit of the config, and started before kubeadm.
func expectIgnitionOnce(t *testing.T, rc *v1alpha1.RegistryCache, data []byte) {
	t.Helper()
	g := NewWithT(t)
	config := ignitionConfig{}
	g.Expect(json.Unmarshal(data, &config)).To(Succeed())
	content := map[string][]byte{}
	for _, f := range config.Storage.Files {
		source, err := dataurl.DecodeString(f.Contents.Source)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(content).NotTo(HaveKey(f.Path))
		g.Expect(f.Mode).NotTo(BeNil(), "Cluster API's Docker provider reads it")
		content[f.Path] = source.Data
	}
	g.Expect(content).To(HaveKey(payload.ArchivePath))
	files := envtest.Install(t, content[payload.ArchivePath])
	for _, u := range config.Systemd.Units {
		if u.Name == payload.UnitName {
			g.Expect(u.Enabled).To(BeTrue())
			g.Expect(files).NotTo(HaveKey(unitPath))
			files[unitPath] = u.Contents
		}
	}
	g.Expect(files).To(Equal(nodeFiles(g, rc)))
	expectUnitStartedBeforeKubeadm(g, strings.Split(string(content["/etc/kubeadm.sh"]), "\n"))
}
