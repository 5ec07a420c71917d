package envtest_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// registryCache reads a spec in YAML as users write it, so that the API server sees it without defaults of Go types.
func registryCache(g *WithT, namespace, spec string) *unstructured.Unstructured {
	rc := &unstructured.Unstructured{Object: map[string]any{}}
	if spec != "" {
		parsed := map[string]any{}
		g.Expect(yaml.Unmarshal([]byte(spec), &parsed)).To(Succeed())
		rc.Object["spec"] = parsed
	}
	rc.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RegistryCache"))
	rc.SetNamespace(namespace)
	rc.SetGenerateName("rc-")
	return rc
}

func TestRejectedSpecsNameFieldValueAndWhatIsAccepted(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, tc := range map[string]struct {
		spec  string
		wants []string
	}{
		"no spec":                {"", []string{"spec", "Required value"}},
		"no cache":               {"namespace: kube-system", []string{"spec", "neither caches nor mirrors given", "upstream: docker.io"}},
		"an empty list":          {"caches: []", []string{"spec", "neither caches nor mirrors given", "upstream: docker.io"}},
		"a cache without name":   {"caches: [{image: foo}]", []string{"spec.caches[0].upstream", "Required value"}},
		"an empty upstream":      {`caches: [{upstream: ""}]`, []string{"spec.caches[0].upstream", "should be at least 1 chars long"}},
		"two of one upstream":    {"caches: [{upstream: quay.io}, {upstream: quay.io}]", []string{"spec.caches[1]", "Duplicate value", "quay.io"}},
		"an upstream with URL":   {`caches: [{upstream: "https://quay.io"}]`, []string{"spec.caches[0].upstream", "https://quay.io is not host[:port]", "such as quay.io"}},
		"an upstream with path":  {"caches: [{upstream: quay.io/org}]", []string{"spec.caches[0].upstream", "quay.io/org is not host[:port]", "such as quay.io"}},
		"an upstream in capital": {"caches: [{upstream: Quay.io}]", []string{"spec.caches[0].upstream", "Quay.io is not host[:port]", "lower-case"}},
		"an upstream port 0":     {`caches: [{upstream: "quay.io:0"}]`, []string{"spec.caches[0].upstream", "quay.io:0 is not host[:port]", "1 to 65535"}},
		"an upstream port 70000": {`caches: [{upstream: "quay.io:70000"}]`, []string{"spec.caches[0].upstream", "quay.io:70000 is not host[:port]", "1 to 65535"}},
		"an upstream, two ports": {`caches: [{upstream: "quay.io:80:81"}]`, []string{"spec.caches[0].upstream", "quay.io:80:81 is not host[:port]"}},
		"an upstream, dots":      {"caches: [{upstream: quay..io}]", []string{"spec.caches[0].upstream", "quay..io is not host[:port]"}},
		"33 caches":              {"caches:" + manyCaches(33), []string{"spec.caches", "33", "must have at most 32 items"}},
		"a remoteURL of ftp":     {`caches: [{upstream: quay.io, remoteURL: "ftp://quay.io"}]`, []string{"spec.caches[0].remoteURL", "ftp://quay.io is not the URL", "http:// or https://"}},
		"a remoteURL with path":  {`caches: [{upstream: quay.io, remoteURL: "https://quay.io/v2"}]`, []string{"spec.caches[0].remoteURL", "https://quay.io/v2 is not the URL", "without user info, path"}},
		"a remoteURL with slash": {`caches: [{upstream: quay.io, remoteURL: "https://quay.io/"}]`, []string{"spec.caches[0].remoteURL", "https://quay.io/ is not the URL", "trailing slash"}},
		"a remoteURL with user":  {`caches: [{upstream: quay.io, remoteURL: "https://me@quay.io"}]`, []string{"spec.caches[0].remoteURL", "https://me@quay.io is not the URL", "without user info"}},
		"a remoteURL, bad port":  {`caches: [{upstream: quay.io, remoteURL: "https://quay.io:65536"}]`, []string{"spec.caches[0].remoteURL", "https://quay.io:65536 is not the URL"}},
		"a bare remoteURL":       {"caches: [{upstream: quay.io, remoteURL: quay.io}]", []string{"spec.caches[0].remoteURL", "quay.io is not the URL", "such as https://registry-1.docker.io"}},
		"an unknown volume type": {"caches: [{upstream: quay.io, volume: {type: HostPath}}]", []string{"spec.caches[0].volume.type", `"HostPath"`, "PersistentVolumeClaim", "EmptyDir"}},
		"a negative size":        {"caches: [{upstream: quay.io, volume: {size: -1Gi}}]", []string{"spec.caches[0].volume.size", "-1Gi is not a quantity greater than 0", "such as 10Gi"}},
		"a size of zero":         {`caches: [{upstream: quay.io, volume: {size: "0"}}]`, []string{"spec.caches[0].volume.size", "0 is not a quantity greater than 0", "such as 10Gi"}},
		"a size in words":        {"caches: [{upstream: quay.io, volume: {size: much}}]", []string{"spec.caches[0].volume.size", "much is not a quantity greater than 0", "such as 10Gi"}},
		"a size as a number":     {"caches: [{upstream: quay.io, volume: {size: 10}}]", []string{"spec.caches[0].volume.size", "integer", "must be of type string"}},
		"a class with EmptyDir":  {"caches: [{upstream: quay.io, volume: {type: EmptyDir, storageClassName: fast}}]", []string{"spec.caches[0].volume", "storageClassName: fast has no meaning", "type PersistentVolumeClaim"}},
		"a class with slash":     {"caches: [{upstream: quay.io, volume: {storageClassName: a/b}}]", []string{"spec.caches[0].volume.storageClassName", "a/b is not the name of a StorageClass", "such as fast-ssd"}},
		"a ttl without unit":     {`caches: [{upstream: quay.io, garbageCollection: {ttl: "168"}}]`, []string{"spec.caches[0].garbageCollection.ttl", "168 is not a duration", "such as 168h"}},
		"a ttl in days":          {"caches: [{upstream: quay.io, garbageCollection: {ttl: 7d}}]", []string{"spec.caches[0].garbageCollection.ttl", "7d is not a duration", "such as 168h"}},
		"a negative ttl":         {"caches: [{upstream: quay.io, garbageCollection: {ttl: -1h}}]", []string{"spec.caches[0].garbageCollection.ttl", "-1h is not a duration of 0s or more"}},
		"an empty ttl":           {`caches: [{upstream: quay.io, garbageCollection: {ttl: ""}}]`, []string{"spec.caches[0].garbageCollection.ttl", "is not a duration"}},
		"a ttl that Go overflows": {"caches: [{upstream: quay.io, garbageCollection: {ttl: 9999999h}}]", []string{
			"spec.caches[0].garbageCollection.ttl", "9999999h is not a duration", "at most six digits"}},
		"a relative certsDir":    {"{caches: [{upstream: quay.io}], nodes: {certsDir: certs.d}}", []string{"spec.nodes.certsDir", "certs.d is not usable", "one absolute path"}},
		"a certsDir list":        {`{caches: [{upstream: quay.io}], nodes: {certsDir: "/a:/b"}}`, []string{"spec.nodes.certsDir", "/a:/b is not usable", "one absolute path"}},
		"a certsDir with ..":     {"{caches: [{upstream: quay.io}], nodes: {certsDir: /etc/../x}}", []string{"spec.nodes.certsDir", "/etc/../x is not usable"}},
		"a namespace in capital": {"{caches: [{upstream: quay.io}], namespace: Caches}", []string{"spec.namespace", "Caches is not a namespace name", "such as kube-system"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			expectInvalid(g, env.Client.Create(t.Context(), registryCache(g, namespace, tc.spec)), tc.wants)
		})
	}
}

func TestEdgesOfWhatIsAccepted(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, spec := range map[string]string{
		"a host of one label":       "caches: [{upstream: registry}]",
		"an address and a port":     `caches: [{upstream: "10.0.0.1:5000"}]`,
		"the highest port":          `caches: [{upstream: "quay.io:65535", remoteURL: "http://quay.io:65535"}]`,
		"a host of 253 characters":  "caches: [{upstream: " + strings.Repeat("a.", 126) + "a}]",
		"32 caches":                 "caches:" + manyCaches(32),
		"hosts that differ in port": `caches: [{upstream: quay.io}, {upstream: "quay.io:443"}]`,
		"a size in small units":     "caches: [{upstream: quay.io, volume: {size: 1500M}}]",
		"a size without unit":       `caches: [{upstream: quay.io, volume: {size: "1000000000"}}]`,
		"an EmptyDir":               "caches: [{upstream: quay.io, volume: {type: EmptyDir}}]",
		"collection off":            "caches: [{upstream: quay.io, garbageCollection: {ttl: 0s}}]",
		"the form that Go writes":   "caches: [{upstream: quay.io, garbageCollection: {ttl: 168h0m0s}}]",
		"the longest ttl":           "caches: [{upstream: quay.io, garbageCollection: {ttl: 999999h999999m999999s}}]",
		"another certsDir":          "{caches: [{upstream: quay.io}], nodes: {certsDir: /var/lib/rancher/k3s_1/certs.d}}",
	} {
		t.Run(name, func(t *testing.T) {
			expectAccepted(t, namespace, spec)
		})
	}
}

func TestDefaultsAreThoseOfTheDocumentation(t *testing.T) {
	g := NewWithT(t)
	rc := registryCache(g, env.CreateNamespace(t), "caches: [{upstream: docker.io}]")
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	want := `
namespace: kube-system
nodes:
  certsDir: /etc/containerd/certs.d
  existing: Configure
caches:
- upstream: docker.io
  volume:
    type: PersistentVolumeClaim
    size: 10Gi
  garbageCollection:
    ttl: 168h
    highWatermarkPercent: 85
  revalidateAfter: 0s
  tls:
    mode: Enabled
  replicas: 1
`
	got, err := yaml.Marshal(rc.Object["spec"])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(MatchYAML(want))
}

func TestUpdatesOfASpec(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, tc := range map[string]struct {
		before, after string
		wants         []string
	}{
		"the namespace stays": {"caches: [{upstream: quay.io}]", "{caches: [{upstream: quay.io}], namespace: caches}",
			[]string{"spec.namespace", "caches cannot replace kube-system", "immutable", "create it again"}},
		"the namespace cannot fall back to its default": {"{caches: [{upstream: quay.io}], namespace: caches}", "caches: [{upstream: quay.io}]",
			[]string{"spec.namespace", "kube-system cannot replace caches", "immutable"}},
		"the volume does not shrink": {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, volume: {size: 9.9Gi}}]",
			[]string{"spec.caches[0].volume", "volume.size: 9.9Gi is smaller than 10Gi", "remove the cache of this upstream"}},
		"the class of a volume stays": {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, volume: {storageClassName: fast}}]",
			[]string{"spec.caches[0].volume", "volume.storageClassName: fast cannot replace the default class", "immutable"}},
		"the kind of a volume stays": {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, volume: {type: EmptyDir}}]",
			[]string{"spec.caches[0].volume", "volume.type: EmptyDir cannot replace PersistentVolumeClaim", "immutable"}},
		"collection does not come back": {"caches: [{upstream: quay.io, garbageCollection: {ttl: 0s}}]", "caches: [{upstream: quay.io, garbageCollection: {ttl: 24h}}]",
			[]string{"spec.caches[0].garbageCollection", "24h cannot replace 0s", "distribution#4249", "remove the cache"}},
		"collection does not come back by default": {"caches: [{upstream: quay.io, garbageCollection: {ttl: 0s}}]", "caches: [{upstream: quay.io}]",
			[]string{"spec.caches[0].garbageCollection", "168h cannot replace 0s"}},
		"the last cache stays": {"caches: [{upstream: quay.io}]", "caches: []", []string{"spec", "neither caches nor mirrors given"}},

		"collection can be turned off":      {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, garbageCollection: {ttl: 0s}}]", nil},
		"collection off is off in any unit": {"caches: [{upstream: quay.io, garbageCollection: {ttl: 0s}}]", "caches: [{upstream: quay.io, garbageCollection: {ttl: 0h}}]", nil},
		"the ttl can change":                {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, garbageCollection: {ttl: 1h}}]", nil},
		"the volume can grow":               {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, volume: {size: 20Gi}}]", nil},
		"caches can be added":               {"caches: [{upstream: quay.io}]", "caches: [{upstream: docker.io}, {upstream: quay.io}]", nil},
		"another cache has another volume":  {"caches: [{upstream: quay.io}]", "caches: [{upstream: ghcr.io, volume: {size: 1Gi}}]", nil},
		"remoteURL and image can change":    {"caches: [{upstream: quay.io}]", "caches: [{upstream: quay.io, remoteURL: \"https://q.io\", image: registry:3}]", nil},
		"the directory of nodes can change": {"caches: [{upstream: quay.io}]", "{caches: [{upstream: quay.io}], nodes: {certsDir: /etc/certs.d}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			expectUpdate(t, namespace, tc.before, tc.after, tc.wants)
		})
	}
}

// expectInvalid wants an answer of the API server that says all of this.
func expectInvalid(g *WithT, err error, wants []string) {
	g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "the API server answers: %v", err)
	for _, want := range wants {
		g.Expect(err.Error()).To(ContainSubstring(want))
	}
}

// expectAccepted wants a spec to be stored, and read by the Go types.
func expectAccepted(t *testing.T, namespace, spec string) {
	t.Helper()
	g := NewWithT(t)
	rc := registryCache(g, namespace, spec)
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	typed := &v1alpha1.RegistryCache{}
	g.Expect(env.Client.Get(t.Context(), key(rc), typed)).To(Succeed(), "the Go types read it")
}

// expectUpdate wants a spec to be accepted instead of another, or refused if there is something that the message has to say.
func expectUpdate(t *testing.T, namespace, before, after string, wants []string) {
	t.Helper()
	g := NewWithT(t)
	rc := registryCache(g, namespace, before)
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	rc.Object["spec"] = registryCache(g, namespace, after).Object["spec"]
	err := env.Client.Update(t.Context(), rc)
	if wants == nil {
		g.Expect(err).NotTo(HaveOccurred())
		return
	}
	expectInvalid(g, err, wants)
}

// manyCaches returns n caches with upstreams of the greatest length, which is also what CEL costs most for.
func manyCaches(n int) string {
	s := strings.Builder{}
	for i := range n {
		s.WriteString("\n- upstream: h" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + strings.Repeat(".abcdefghi", 25) + ":65535")
	}
	return s.String()
}
