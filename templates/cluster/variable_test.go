package cluster_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/core/webhooks/admission"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/config/crd"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
)

// document returns a document of a template, with a value for every variable.
func document(t *testing.T, template string, number int, into any) {
	t.Helper()
	filled := regexp.MustCompile(`\$\{[A-Z_]+COUNT\}`).ReplaceAllString(template, "1")
	filled = strings.ReplaceAll(filled, "${KUBERNETES_VERSION}", "v1.36.3")
	filled = regexp.MustCompile(`\$\{[A-Z_]+\}`).ReplaceAllString(filled, "test")
	NewWithT(t).Expect(yaml.UnmarshalStrict([]byte(strings.Split(filled, "\n---\n")[number]), into)).To(Succeed())
}

// class is the ClusterClass of the template as Cluster API's controller leaves it.
func class(t *testing.T) *clusterv1.ClusterClass {
	t.Helper()
	c := &clusterv1.ClusterClass{}
	document(t, cluster.Class, 0, c)
	for _, v := range c.Spec.Variables {
		c.Status.Variables = append(c.Status.Variables, clusterv1.ClusterClassStatusVariable{
			Name: v.Name,
			Definitions: []clusterv1.ClusterClassStatusVariableDefinition{{
				From: clusterv1.VariableDefinitionFromInline, Required: v.Required, Schema: v.Schema,
			}},
		})
	}
	return c
}

// admit is what Cluster API's webhook does with the variables of a Cluster of the class. It fills in defaults.
func admit(t *testing.T, before, after *clusterv1.Cluster) field.ErrorList {
	t.Helper()
	return (&admission.Cluster{}).DefaultAndValidateVariables(t.Context(), after, before, class(t))
}

// with is a Cluster whose variable has a value.
func with(t *testing.T, value string) *clusterv1.Cluster {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(value))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	c := &clusterv1.Cluster{}
	c.Spec.Topology.Variables = []clusterv1.ClusterVariable{{Name: "registryCache", Value: apiextensionsv1.JSON{Raw: raw}}}
	return c
}

// TestClusterAPIAcceptsTheClusterClass lets the code of Cluster API's webhook judge the template, the rules of the schema and what they cost.
func TestClusterAPIAcceptsTheClusterClass(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gates, feature.ClusterTopology, true)
	_, err := (&admission.ClusterClass{}).ValidateCreate(t.Context(), class(t))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

func TestClusterAPIAcceptsTheClusterOfTheTemplateAndFillsInDefaults(t *testing.T) {
	g := NewWithT(t)
	c := &clusterv1.Cluster{}
	document(t, cluster.Topology, 0, c)
	g.Expect(admit(t, nil, c)).To(BeEmpty())
	g.Expect(c.Spec.Topology.Variables).To(HaveLen(1))
	g.Expect(c.Spec.Topology.Variables[0].Value.Raw).To(ContainSubstring(`"volume":{"size":"10Gi","type":"PersistentVolumeClaim"}`))
	g.Expect(c.Spec.Topology.ClassRef.Name).To(Equal(class(t).Name))
}

func TestClusterAPIAcceptsOurSamples(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("../../config/samples/addons_v1alpha1_registrycache.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var sample struct {
		Spec apiextensionsv1.JSON `json:"spec"`
	}
	g.Expect(yaml.Unmarshal(content, &sample)).To(Succeed())
	g.Expect(admit(t, nil, with(t, string(sample.Spec.Raw)))).To(BeEmpty())
	g.Expect(admit(t, nil, with(t, `{caches: [{upstream: docker.io, resources: {requests: {cpu: 1, memory: 64Mi}}, tolerations: [{operator: Exists}],
		credentialsSecretRef: {name: hub}}], mirrors: [{upstream: docker.io, hosts: [{host: "https://m.test", capabilities: [pull, resolve]}]}]}`))).To(BeEmpty())
	g.Expect(admit(t, nil, &clusterv1.Cluster{})).To(BeEmpty(), "the variable is optional")
}

func TestClusterAPIRefusesABadValueWithOurMessage(t *testing.T) {
	for name, test := range map[string]struct{ value, want string }{
		"nothing asked for":  {`{}`, "spec: neither caches nor mirrors given; at least one entry such as caches: [{upstream: docker.io}] is needed"},
		"a URL as upstream":  {`{caches: [{upstream: "https://quay.io/"}]}`, "upstream: https://quay.io/ is not host[:port]; accepted are a lower-case DNS name"},
		"no quantity":        {`{caches: [{upstream: quay.io, volume: {size: big}}]}`, "volume.size: big is not a quantity greater than 0; accepted are values such as 10Gi"},
		"a class of nothing": {`{caches: [{upstream: quay.io, volume: {type: EmptyDir, storageClassName: x}}]}`, "volume.storageClassName: x has no meaning with type EmptyDir"},
		"an unknown field":   {`{caches: [{upstream: quay.io, sise: 1}]}`, `"caches[0].sise" field(s) are not specified`},
		"an upstream twice":  {`{caches: [{upstream: quay.io}, {upstream: a.io}, {upstream: quay.io}]}`, "caches: two entries have the same upstream; accepted is one entry for each upstream"},
		"a mirror twice": {`{mirrors: [{upstream: quay.io, hosts: [{host: "http://m"}, {host: "http://m"}]}]}`,
			"hosts: two entries have the same host; accepted is one entry for each host"},
		"too many":  {"caches:\n" + strings.Repeat("- upstream: quay.io\n", 33), "must have at most 32 items"},
		"no object": {`[docker.io]`, `must be of type object`},
	} {
		t.Run(name, func(t *testing.T) {
			errs := admit(t, nil, with(t, test.value))
			g := NewWithT(t)
			g.Expect(errs).To(ContainElement(MatchError(ContainSubstring(test.want))))
			g.Expect(errs[0].Field).To(HavePrefix("spec.topology.variables[registryCache]"))
		})
	}
}

func TestClusterAPIRefusesAChangeOfTheNamespace(t *testing.T) {
	g := NewWithT(t)
	before := with(t, `{namespace: a, caches: [{upstream: quay.io}]}`)
	g.Expect(admit(t, before, with(t, `{namespace: a, caches: [{upstream: ghcr.io}]}`))).To(BeEmpty())
	g.Expect(admit(t, before, with(t, `{namespace: b, caches: [{upstream: quay.io}]}`))).
		To(ConsistOf(MatchError(ContainSubstring("spec.namespace: b cannot replace a, the field is immutable"))))
}

// TestWhatAClusterClassCannotCarryIsKnown fails when the CRD gets something new that is dropped, so that it is thought of.
func TestWhatAClusterClassCannotCarryIsKnown(t *testing.T) {
	g := NewWithT(t)
	spec, err := crd.RegistryCacheSpec()
	g.Expect(err).NotTo(HaveOccurred())
	original := spec.DeepCopy()
	definition, dropped, err := cluster.Variable(spec)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(spec).To(Equal(original))
	g.Expect(definition.Required).To(Equal(ptr.To(false)))
	var fields []string
	for _, line := range dropped {
		fields = append(fields, strings.SplitN(line, ":", 2)[0])
	}
	g.Expect(fields).To(Equal([]string{
		"spec.caches", "spec.caches[].garbageCollection", "spec.caches[].resources.claims",
		"spec.caches[].volume", "spec.caches[].volume", "spec.caches[].volume",
		"spec.mirrors", "spec.mirrors[].hosts", "spec.mirrors[].hosts[].capabilities",
	}))
}

// TestWhatIsNotForeseenIsAnError guards against a schema that silently says less than the CRD.
func TestWhatIsNotForeseenIsAnError(t *testing.T) {
	_, _, err := cluster.Variable(&apiextensionsv1.JSONSchemaProps{Type: "string", Title: "a field that a ClusterClass does not have"})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`unknown field "title"`)))
}

func TestGeneratedFilesHoldTheVariable(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("registry-cache-variable.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var file struct {
		Variables []clusterv1.ClusterClassVariable `json:"variables"`
	}
	g.Expect(yaml.UnmarshalStrict(content, &file)).To(Succeed())
	spec, err := crd.RegistryCacheSpec()
	g.Expect(err).NotTo(HaveOccurred())
	definition, _, err := cluster.Variable(spec)
	g.Expect(err).NotTo(HaveOccurred())
	want, err := yaml.Marshal([]clusterv1.ClusterClassVariable{*definition})
	g.Expect(err).NotTo(HaveOccurred())
	for name, variables := range map[string][]clusterv1.ClusterClassVariable{"registry-cache-variable.yaml": file.Variables, "clusterclass.yaml": class(t).Spec.Variables} {
		got, err := yaml.Marshal(variables)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(got)).To(Equal(string(want)), name+" is not up to date, make generate writes it")
	}
}

// TestClusterAPIAcceptsWhatTheGuideSays reads the YAML of docs/clusterclass.md: a Cluster, and what a class with the runtime extension has.
func TestClusterAPIAcceptsWhatTheGuideSays(t *testing.T) {
	g := NewWithT(t)
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gates, feature.ClusterTopology, true)
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gates, feature.RuntimeSDK, true)
	page, err := os.ReadFile("../../docs/clusterclass.md")
	g.Expect(err).NotTo(HaveOccurred())
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	g.Expect(blocks).To(HaveLen(2))
	c := &clusterv1.Cluster{}
	g.Expect(yaml.UnmarshalStrict([]byte(blocks[0][1]), c)).To(Succeed())
	g.Expect(admit(t, nil, c)).To(BeEmpty())
	discovering := class(t)
	discovering.Spec.Variables = nil
	g.Expect(yaml.UnmarshalStrict([]byte(blocks[1][1]), discovering)).To(Succeed())
	_, err = (&admission.ClusterClass{}).ValidateCreate(t.Context(), discovering)
	g.Expect(err).NotTo(HaveOccurred())
}
