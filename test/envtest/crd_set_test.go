package envtest_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// registryCacheSet is a RegistryCacheSet of a spec in YAML.
func registryCacheSet(g *WithT, namespace, spec string) *unstructured.Unstructured {
	set := registryCache(g, namespace, spec)
	set.SetKind("RegistryCacheSet")
	set.SetGenerateName("set-")
	return set
}

// setOf is the spec of a set with the spec of a RegistryCache in its template.
func setOf(spec string) string { return "{clusterSelector: {}, template: {spec: {" + spec + "}}}" }

func TestRejectedSetsNameFieldValueAndWhatIsAccepted(t *testing.T) {
	namespace := env.CreateNamespace(t)
	const cache = "template: {spec: {caches: [{upstream: quay.io}]}}"
	for name, tc := range map[string]struct {
		spec  string
		wants []string
	}{
		"no spec":                   {"", []string{"spec", "Required value"}},
		"no selector":               {cache, []string{"spec.clusterSelector", "Required value"}},
		"a selector that is null":   {"{clusterSelector: null, " + cache + "}", []string{"spec.clusterSelector", "Required value"}},
		"no template":               {"clusterSelector: {}", []string{"spec.template", "Required value"}},
		"no spec in the template":   {"{clusterSelector: {}, template: {}}", []string{"spec.template.spec", "Required value"}},
		"no cache":                  {setOf("namespace: caches"), []string{"spec.template.spec", "neither caches nor mirrors given", "upstream: docker.io"}},
		"an upstream with URL":      {setOf(`caches: [{upstream: "https://quay.io"}]`), []string{"spec.template.spec.caches[0].upstream", "https://quay.io is not host[:port]"}},
		"33 caches":                 {setOf("caches: [" + numbered(33, "{upstream: h%d.io}") + "]"), []string{"spec.template.spec.caches", "must have at most 32 items"}},
		"a size in words":           {setOf("caches: [{upstream: quay.io, volume: {size: much}}]"), []string{"spec.template.spec.caches[0].volume.size", "much is not a quantity"}},
		"a mirror without a scheme": {setOf("mirrors: [{upstream: quay.io, hosts: [{host: m}]}]"), []string{"spec.template.spec.mirrors[0].hosts[0].host", "m is not the URL of a mirror"}},
		"a label that is a number":  {"{clusterSelector: {matchLabels: {a: 1}}, " + cache + "}", []string{"spec.clusterSelector.matchLabels.a", "must be of type string"}},
		"an expression without key": {"{clusterSelector: {matchExpressions: [{operator: Exists}]}, " + cache + "}", []string{"spec.clusterSelector.matchExpressions[0].key", "Required value"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			expectInvalid(g, env.Client.Create(t.Context(), registryCacheSet(g, namespace, tc.spec)), tc.wants)
		})
	}
	t.Run("a name that is too long for a label", func(t *testing.T) {
		g := NewWithT(t)
		set := registryCacheSet(g, namespace, setOf("caches: [{upstream: quay.io}]"))
		set.SetName(strings.Repeat("a", 64))
		expectInvalid(g, env.Client.Create(t.Context(), set), []string{"metadata.name: longer than 63 characters", "at most 63"})
		set.SetName(strings.Repeat("a", 63))
		g.Expect(env.Client.Create(t.Context(), set)).To(Succeed())
	})
}

// The controller compares a RegistryCache with the template: both have to have the same defaults.
func TestATemplateHasTheDefaultsOfARegistryCache(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, spec := range map[string]string{
		"a cache":            "caches: [{upstream: docker.io}]",
		"a mirror":           `mirrors: [{upstream: docker.io, hosts: [{host: "https://m"}]}]`,
		"half of an option":  "caches: [{upstream: quay.io, volume: {type: EmptyDir}, garbageCollection: {ttl: 1h}, tls: {}}], nodes: {existing: Ignore}",
		"all that CEL reads": `caches: [{upstream: quay.io, volume: {size: 1Gi, storageClassName: fast}, replicas: 2, proxy: {httpsProxy: "http://p:1"}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set, rc := registryCacheSet(g, namespace, setOf(spec)), registryCache(g, namespace, "{"+spec+"}")
			g.Expect(env.Client.Create(t.Context(), set)).To(Succeed())
			g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
			template, _, err := unstructured.NestedMap(set.Object, "spec", "template", "spec")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(template).To(Equal(rc.Object["spec"]))
			typed := &v1alpha1.RegistryCacheSet{}
			g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(set.Object, typed)).To(Succeed())
		})
	}
}

// What no RegistryCache would accept is refused where the user writes it.
func TestUpdatesOfASet(t *testing.T) {
	namespace := env.CreateNamespace(t)
	const selected = "{clusterSelector: {matchLabels: {a: b}}, template: {metadata: {labels: {c: d}}, spec: {caches: [{upstream: quay.io}]}}}"
	for name, tc := range map[string]struct {
		before, after string
		wants         []string
	}{
		"the namespace stays": {setOf("caches: [{upstream: quay.io}]"), setOf("caches: [{upstream: quay.io}], namespace: caches"),
			[]string{"spec.template.spec.namespace", "caches cannot replace kube-system", "immutable"}},
		"a volume keeps its class": {setOf("caches: [{upstream: quay.io}]"), setOf("caches: [{upstream: quay.io, volume: {storageClassName: fast}}]"),
			[]string{"spec.template.spec.caches[0].volume", "fast cannot replace the default class"}},
		"a volume does not shrink": {setOf("caches: [{upstream: quay.io}]"), setOf("caches: [{upstream: quay.io, volume: {size: 1Gi}}]"),
			[]string{"spec.template.spec.caches[0].volume", "1Gi is smaller than 10Gi"}},
		"a volume may grow":       {setOf("caches: [{upstream: quay.io}]"), setOf("caches: [{upstream: quay.io, volume: {size: 20Gi}}]"), nil},
		"caches may be exchanged": {setOf("caches: [{upstream: quay.io}]"), setOf("caches: [{upstream: ghcr.io, volume: {type: EmptyDir}}]"), nil},
		"the selector may change": {setOf("caches: [{upstream: quay.io}]"), selected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := registryCacheSet(g, namespace, tc.before)
			g.Expect(env.Client.Create(t.Context(), set)).To(Succeed())
			set.Object["spec"] = registryCacheSet(g, namespace, tc.after).Object["spec"]
			err := env.Client.Update(t.Context(), set)
			if tc.wants == nil {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			expectInvalid(g, err, tc.wants)
		})
	}
}

// clusterctl moves a RegistryCacheSet, which no Cluster owns, by the label of its CRD; a RegistryCache goes along with its Cluster.
func TestSetsAreMovedByTheLabelOfTheirCRD(t *testing.T) {
	g := NewWithT(t)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	g.Expect(env.Client.Get(t.Context(), client.ObjectKey{Name: "registrycachesets." + v1alpha1.GroupVersion.Group}, crd)).To(Succeed())
	g.Expect(crd.Labels).To(HaveKeyWithValue(clusterctlv1.ClusterctlMoveLabel, ""))
	g.Expect(crd.Labels).NotTo(HaveKey(clusterctlv1.ClusterctlMoveHierarchyLabel))
}
