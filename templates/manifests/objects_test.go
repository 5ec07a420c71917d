package manifests_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

var update = flag.Bool("update", false, "write the golden files")

func dockerHub() manifests.Values {
	return manifests.Values{
		Namespace: "kube-system",
		Name:      manifests.ServiceName("docker.io"),
		Upstream:  "docker.io",
		RemoteURL: "https://registry-1.docker.io",
		ClusterIP: "10.128.0.250",
		Image:     "capi-registry-cache/workload:dev",
		TTL:       168 * time.Hour,
		TLS:       true,
	}
}

func with(change func(*manifests.Values)) manifests.Values {
	v := dockerHub()
	change(&v)
	return v
}

var goldens = map[string]manifests.Values{
	"defaults":             dockerHub(),
	"address-not-known":    with(func(v *manifests.Values) { v.ClusterIP = "" }),
	"ipv6-own-namespace":   with(func(v *manifests.Values) { v.Namespace, v.ClusterIP = "caches", "fd00:10:96::fa" }),
	"storage-class-no-ttl": with(withStorageClass),
	"empty-dir-resources":  with(withEmptyDir),
	"all-options":          with(withAll),
	"stock-tls":            with(func(v *manifests.Values) { v.Image, v.Stock = "registry:3", true }),
	"access":               with(withAccess),
	"access-restarted":     with(withRestarted),
}

func withStorageClass(v *manifests.Values) {
	v.TTL = 0
	v.Volume = addonsv1.Volume{
		Type:             addonsv1.PersistentVolumeClaimVolume,
		Size:             new(resource.MustParse("20480Mi")),
		StorageClassName: new("fast-ssd"),
	}
}

func withEmptyDir(v *manifests.Values) {
	v.Image, v.Stock, v.TLS = "registry:3", true, false
	v.Volume = addonsv1.Volume{Type: addonsv1.EmptyDirVolume, Size: new(resource.MustParse("5Gi"))}
	v.Resources = &corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}

func withAll(v *manifests.Values) {
	v.Namespace, v.Replicas = "caches", 3
	v.Image = "registry.example.com/registry@sha256:" + strings.Repeat("0123456789abcdef", 4)
	v.HighWatermarkPercent, v.RevalidateAfter = 60, 90*time.Second
	v.Proxy = &addonsv1.Proxy{
		HTTPProxy: "http://proxy.example.com:3128", HTTPSProxy: "http://proxy.example.com:3129",
		NoProxy: "localhost,.example.net,10.0.0.0/8",
	}
	v.ClusterNetworks = []string{"10.244.0.0/16", "10.128.0.0/16", "fd00:10:96::/112", "cluster.local"}
	v.NodeSelector = map[string]string{"node-role.example.com/cache": ""}
	v.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "cache", Effect: corev1.TaintEffectNoSchedule}}
	v.Volume.Size = new(resource.MustParse("100Gi"))
	v.Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
}

func withAccess(v *manifests.Values) {
	v.Access = manifests.Access{
		Credentials: true, Username: []byte("org+robot"), Password: []byte("#not: {yaml}"),
		CABundle: true, Certificates: []byte("-----BEGIN CERTIFICATE-----\n"),
	}
}

func withRestarted(v *manifests.Values) {
	withAccess(v)
	v.Image, v.Access.Restarted = "registry:3", true
}

func TestObjectsAreAsTheGoldenFilesHaveThem(t *testing.T) {
	for name, values := range goldens {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			built := objects(t, values)
			g.Expect(string(render(t, built))).To(Equal(golden(t, name+".yaml", render(t, built))))
			config := configFile(t, built)
			g.Expect(string(config)).To(Equal(golden(t, name+".config.yml", config)))
		})
	}
}

// golden returns what the golden file holds, after writing it if -update is given.
func golden(t *testing.T, file string, rendered []byte) string {
	t.Helper()
	g := NewWithT(t)
	path := filepath.Join("testdata", file)
	if *update {
		g.Expect(os.WriteFile(path, rendered, 0o600)).To(Succeed())
	}
	content, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	return string(content)
}

func objects(t *testing.T, v manifests.Values) []client.Object {
	t.Helper()
	built, err := manifests.Objects(v)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return built
}

// render writes one YAML document for each object, and checks that it is read back as the same object, with no field
// that the type does not have.
func render(t *testing.T, built []client.Object) []byte {
	t.Helper()
	g := NewWithT(t)
	documents := make([][]byte, 0, len(built))
	for _, object := range built {
		document, err := yaml.Marshal(object)
		g.Expect(err).NotTo(HaveOccurred())
		back := emptyLike(t, object)
		g.Expect(yaml.UnmarshalStrict(document, back)).To(Succeed())
		g.Expect(asJSON(t, back)).To(Equal(asJSON(t, object)))
		documents = append(documents, document)
	}
	return bytes.Join(documents, []byte("---\n"))
}

func emptyLike(t *testing.T, object client.Object) client.Object {
	t.Helper()
	kinds := map[string]client.Object{
		"Namespace": &corev1.Namespace{}, "Secret": &corev1.Secret{},
		"Service": &corev1.Service{}, "StatefulSet": &appsv1.StatefulSet{},
		"ConfigMap": &corev1.ConfigMap{}, "DaemonSet": &appsv1.DaemonSet{},
		"NetworkPolicy": &networkingv1.NetworkPolicy{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
	}
	empty, known := kinds[object.GetObjectKind().GroupVersionKind().Kind]
	NewWithT(t).Expect(known).To(BeTrue(), "TypeMeta must be set")
	return empty
}

func asJSON(t *testing.T, object client.Object) string {
	t.Helper()
	content, err := json.Marshal(object)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

func TestTheConfigurationIsAcceptedByDistribution(t *testing.T) {
	for name, values := range goldens {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := parsedConfig(t, values)
			g.Expect(config.Proxy.RemoteURL).To(Equal(values.RemoteURL))
			g.Expect(*config.Proxy.TTL).To(Equal(values.TTL))
			g.Expect(config.Storage.Type()).To(Equal("filesystem"))
			g.Expect(config.Storage.Parameters()).To(HaveKeyWithValue("rootdirectory", "/var/lib/registry"))
			g.Expect(config.Storage["delete"]).To(HaveKeyWithValue("enabled", true))
			g.Expect(config.Storage["tag"]).To(HaveKeyWithValue("concurrencylimit", 5))
			g.Expect(config.Storage).NotTo(HaveKey("cache"))
			g.Expect(config.HTTP.Addr).To(Equal(":5000"))
			g.Expect(config.HTTP.Debug.Addr).To(Equal(":5001"))
			g.Expect(config.HTTP.Debug.Prometheus.Enabled).To(BeTrue())
			g.Expect(config.HTTP.DrainTimeout).To(Equal(20 * time.Second))
			g.Expect(config.HTTP.Headers.Get("X-Content-Type-Options")).To(Equal("nosniff"))
			g.Expect(config.Health.StorageDriver.Enabled).To(BeTrue())
			g.Expect(config.Health.StorageDriver.Interval).To(Equal(10 * time.Second))
			g.Expect(config.Log.Formatter).To(Equal("json"))
			g.Expect(config.Log.Fields).To(HaveKeyWithValue("upstream", values.Upstream))
		})
	}
}

// TestTheConfigurationIsWhatOurCacheRunsWith reads it as the cache does, which refuses fields of its own section that it does
// not know.
func TestTheConfigurationIsWhatOurCacheRunsWith(t *testing.T) {
	for name, values := range goldens {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			t.Setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir)
			path := filepath.Join(dir, "config.yml")
			g.Expect(os.WriteFile(path, configFile(t, objects(t, values)), 0o600)).To(Succeed())
			config, err := cache.Load(path)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(config.Pullthrough.RevalidateAfter).To(Equal(values.RevalidateAfter))
			storage := config.Pullthrough.Storage
			g.Expect(storage.HighWatermarkPercent).To(BeEquivalentTo(cmp.Or(values.HighWatermarkPercent, 85)))
			g.Expect(storage.LowWatermarkPercent).To(Equal(storage.HighWatermarkPercent - 5))
			if values.Volume.Type == addonsv1.EmptyDirVolume {
				g.Expect(storage.MaxSize).To(Equal(values.Volume.Size.Value()), "an EmptyDir is on the disk of the node")
			} else {
				g.Expect(storage.MaxSize).To(BeZero(), "the volume tells its size, also after it has grown")
			}
		})
	}
}

// TestSecondReplicasDoNotReplaceTheFirst: only the number changes, so no Pod is made anew.
func TestSecondReplicasDoNotReplaceTheFirst(t *testing.T) {
	g := NewWithT(t)
	one, two := objects(t, dockerHub()), objects(t, with(func(v *manifests.Values) { v.Replicas = 2 }))
	g.Expect(kinds(two)).To(ConsistOf(append(kinds(one), "PodDisruptionBudget")))
	before, after := one[len(one)-1].(*appsv1.StatefulSet), two[len(two)-1].(*appsv1.StatefulSet)
	g.Expect(after.Spec.Replicas).To(HaveValue(BeEquivalentTo(2)))
	after.Spec.Replicas = before.Spec.Replicas
	g.Expect(after).To(Equal(before))
}

func kinds(built []client.Object) []string {
	var kinds []string
	for _, object := range built {
		kinds = append(kinds, object.GetObjectKind().GroupVersionKind().Kind)
	}
	return kinds
}

func TestTheProxyIsSetOnlyWhereThereIsOne(t *testing.T) {
	local := "localhost,127.0.0.1,::1,.svc,"
	tests := map[string]struct {
		proxy *addonsv1.Proxy
		want  map[string]string
	}{
		"none": {nil, nil},
		"one for https": {
			&addonsv1.Proxy{HTTPSProxy: "http://p:3128"},
			map[string]string{"HTTPS_PROXY": "http://p:3128", "NO_PROXY": local + "10.96.0.0/12,cluster.local"},
		},
		"one for http, and what it is not for": {
			&addonsv1.Proxy{HTTPProxy: "http://p:3128", NoProxy: "example.com,,10.96.0.0/12"},
			map[string]string{"HTTP_PROXY": "http://p:3128", "NO_PROXY": local + "10.96.0.0/12,cluster.local,example.com"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			built := objects(t, with(func(v *manifests.Values) {
				v.Proxy, v.ClusterNetworks = test.proxy, []string{"10.96.0.0/12", "cluster.local"}
			}))
			var got map[string]string
			for _, variable := range built[len(built)-1].(*appsv1.StatefulSet).Spec.Template.Spec.Containers[0].Env {
				if strings.HasSuffix(variable.Name, "_PROXY") {
					got = merged(got, variable.Name, variable.Value)
				}
			}
			g.Expect(got).To(Equal(test.want))
		})
	}
}

func merged(into map[string]string, key, value string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	into[key] = value
	return into
}

func parsedConfig(t *testing.T, v manifests.Values) *configuration.Configuration {
	t.Helper()
	config, err := configuration.Parse(bytes.NewReader(configFile(t, objects(t, v))))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return config
}

func configFile(t *testing.T, built []client.Object) []byte {
	t.Helper()
	for _, object := range built {
		if secret, ok := object.(*corev1.Secret); ok {
			return secret.Data["config.yml"]
		}
	}
	t.Fatal("no Secret among the objects")
	return nil
}

func TestAChangedConfigurationChangesTheHashOnThePodAndAnAddressDoesNot(t *testing.T) {
	g := NewWithT(t)
	template := func(v manifests.Values) corev1.PodTemplateSpec {
		built := objects(t, v)
		return built[len(built)-1].(*appsv1.StatefulSet).Spec.Template
	}
	before := template(dockerHub())
	g.Expect(template(dockerHub())).To(Equal(before))
	g.Expect(template(with(func(v *manifests.Values) { v.ClusterIP = "10.128.0.249" }))).To(Equal(before))

	changed := template(with(func(v *manifests.Values) { v.TTL = time.Hour }))
	g.Expect(changed.Annotations[manifests.ConfigHashAnnotation]).NotTo(Equal(before.Annotations[manifests.ConfigHashAnnotation]))
	changed.Annotations = before.Annotations
	g.Expect(changed).To(Equal(before))
}

func TestSelectorMatchesAllButTheNamespace(t *testing.T) {
	g := NewWithT(t)
	for _, object := range objects(t, goldens["ipv6-own-namespace"]) {
		_, isNamespace := object.(*corev1.Namespace)
		g.Expect(manifests.Selector().Matches(labels.Set(object.GetLabels()))).NotTo(Equal(isNamespace), object.GetName())
	}
}

func TestValuesThatCannotBeRenderedAreNamed(t *testing.T) {
	tests := map[string]struct {
		values manifests.Values
		want   []string
	}{
		"a cluster IP that is no address": {
			with(func(v *manifests.Values) { v.ClusterIP = "ten" }), []string{"cluster IP", `"ten"`, "accepted"},
		},
		"an unknown volume type": {
			with(func(v *manifests.Values) { v.Volume.Type = "HostPath" }), []string{"volume type", `"HostPath"`, "accepted"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			built, err := manifests.Objects(test.values)
			g := NewWithT(t)
			g.Expect(built).To(BeNil())
			for _, part := range test.want {
				g.Expect(err).To(MatchError(ContainSubstring(part)))
			}
		})
	}
}
