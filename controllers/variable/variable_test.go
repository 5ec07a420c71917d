package variable_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

func parse(t *testing.T, value string) (*addonsv1.RegistryCacheSpec, field.ErrorList) {
	t.Helper()
	s, err := variable.New()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s.Parse(t.Context(), apiextensionsv1.JSON{Raw: []byte(value)})
}

func TestOnlyTheValueForTheWholeClusterCounts(t *testing.T) {
	g := NewWithT(t)
	cluster := &clusterv1.Cluster{}
	_, ok := variable.Of(cluster)
	g.Expect(ok).To(BeFalse())
	value := apiextensionsv1.JSON{Raw: []byte(`{"caches":[]}`)}
	cluster.Spec.Topology.Workers.MachineDeployments = []clusterv1.MachineDeploymentTopology{{
		Variables: clusterv1.MachineDeploymentVariables{Overrides: []clusterv1.ClusterVariable{{Name: "registryCache", Value: value}}},
	}}
	_, ok = variable.Of(cluster)
	g.Expect(ok).To(BeFalse())
	cluster.Spec.Topology.Variables = []clusterv1.ClusterVariable{{Name: "other"}, {Name: "registryCache", Value: value}}
	got, ok := variable.Of(cluster)
	g.Expect(ok).To(BeTrue())
	g.Expect(got).To(Equal(value))
}

func TestAValueIsReadWithTheDefaultsOfTheAPIServer(t *testing.T) {
	g := NewWithT(t)
	spec, errs := parse(t, `{"caches":[{"upstream":"docker.io","remoteURL":null,"replicas":null,"resources":{"requests":{"cpu":1}}}]}`)
	g.Expect(errs).To(BeEmpty())
	g.Expect(spec.Namespace).To(Equal("kube-system"))
	g.Expect(spec.Nodes).To(Equal(addonsv1.Nodes{CertsDir: "/etc/containerd/certs.d", Existing: addonsv1.ExistingNodesConfigure}))
	g.Expect(spec.Caches).To(HaveLen(1))
	cache := spec.Caches[0]
	g.Expect(cache.RemoteURL).To(BeEmpty())
	g.Expect(cache.Replicas).To(Equal(ptr.To(int32(1))))
	g.Expect(cache.Volume.Size.String()).To(Equal("10Gi"))
	g.Expect(cache.GarbageCollection.TTL.Hours()).To(BeEquivalentTo(168))
	g.Expect(cache.Resources.Requests.Cpu().String()).To(Equal("1"))
}

// TestABadValueIsToldByFieldAndValue names what is accepted, too, wherever the rule does.
func TestABadValueIsToldByFieldAndValue(t *testing.T) {
	const at = "spec.topology.variables[registryCache].value"
	for name, test := range map[string]struct{ value, want string }{
		"nothing":      {``, at + `: Invalid value: "string": is not JSON: unexpected end of JSON input`},
		"null":         {`null`, at + `: Invalid value: "null": is not the spec of a RegistryCache; accepted is an object such as {caches: [{upstream: docker.io}]}`},
		"a list":       {`["docker.io"]`, at + `: Invalid value: "array": is not the spec of a RegistryCache; accepted is an object such as {caches: [{upstream: docker.io}]}`},
		"an empty one": {`{}`, at + `: Invalid value: spec: neither caches nor mirrors given; at least one entry such as caches: [{upstream: docker.io}] is needed`},
		"a whole RegistryCache": {`{"spec":{"caches":[{"upstream":"docker.io"}]}}`,
			at + `.spec: Invalid value: "unknown field": there is no such field; accepted are caches, mirrors, namespace, nodes`},
		"a wrong type": {`{"caches":[{"upstream":"docker.io","replicas":"2"}]}`,
			at + `.caches[0].replicas: Invalid value: "string": caches[0].replicas in body must be of type integer: "string"`},
		"no choice": {`{"nodes":{"existing":"Perhaps"},"caches":[{"upstream":"docker.io"}]}`,
			at + `.nodes.existing: Unsupported value: "Perhaps": supported values: "Configure", "Ignore"`},
		"an upstream twice": {`{"caches":[{"upstream":"docker.io"},{"upstream":"docker.io","remoteURL":"https://a"}]}`,
			at + `.caches[1]: Duplicate value: {"upstream":"docker.io"}`},
		"a password in a URL": {`{"caches":[{"upstream":"docker.io","remoteURL":"https://me:pa@ss@quay.io"}]}`,
			at + `.caches[0].remoteURL: Invalid value: "https://***@quay.io": remoteURL: https://***@quay.io is not the URL of a registry; accepted are http:// or https://, a host and an optional port, without user info, path, query or trailing slash, such as https://registry-1.docker.io`},
		"six mistakes": {`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}`, at + `.a: Invalid value: "unknown field": there is no such field; accepted are caches, mirrors, namespace, nodes; ` +
			at + `.b: Invalid value: "unknown field": there is no such field; accepted are caches, mirrors, namespace, nodes; ` +
			at + `.c: Invalid value: "unknown field": there is no such field; accepted are caches, mirrors, namespace, nodes; ` +
			at + `.d: Invalid value: "unknown field": there is no such field; accepted are caches, mirrors, namespace, nodes; and 2 more`},
	} {
		t.Run(name, func(t *testing.T) {
			spec, errs := parse(t, test.value)
			NewWithT(t).Expect(variable.Message(errs)).To(Equal(test.want))
			NewWithT(t).Expect(spec).To(BeNil())
		})
	}
}

// A condition takes 32768 bytes.
func TestAMessageIsBoundedAndCountsWhatItLeavesOut(t *testing.T) {
	for name, text := range map[string]string{"one byte each": "a", "two bytes each": "ä", "two bytes each, one off": "xä"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var errs field.ErrorList
			for range 6 {
				errs = append(errs, field.Invalid(field.NewPath("f"), strings.Repeat(text, 3000), "is long"))
			}
			message := variable.Message(errs)
			g.Expect(len(message)).To(And(BeNumerically("<=", 4096), BeNumerically(">", 4090)))
			g.Expect(utf8.ValidString(message)).To(BeTrue())
			g.Expect(message).To(HaveSuffix(" …; and 2 more"))
		})
	}
}

func TestARefusalOfTheAPIServerNamesTheFieldOfTheVariable(t *testing.T) {
	g := NewWithT(t)
	kind := schema.GroupKind{Group: "addons.cluster.x-k8s.io", Kind: "RegistryCache"}
	invalid := apierrors.NewInvalid(kind, "c", field.ErrorList{
		field.Invalid(field.NewPath("spec", "namespace"), "b", "spec.namespace: b cannot replace a"),
		field.Invalid(field.NewPath("spec", "caches").Index(0).Child("proxy"), "http://me:secret@proxy", "no"),
	})
	g.Expect(variable.Rejection(invalid)).To(Equal(`spec.topology.variables[registryCache].value.caches[0].proxy: Invalid value: "http://***@proxy": no; ` +
		`spec.topology.variables[registryCache].value.namespace: Invalid value: "b": spec.namespace: b cannot replace a`))
	quota := apierrors.NewForbidden(schema.GroupResource{Resource: "registrycaches"}, "c", errors.New("exceeded quota: used 7 of 7"))
	g.Expect(variable.Rejection(quota)).To(Equal("the API server does not accept the RegistryCache: Forbidden, see the Events"))
}

// FuzzParse feeds what users may write; whatever it is, it is read or refused, and what is read is read again in the same way.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"caches":[{"upstream":"docker.io"}]}`, `{"mirrors":[{"upstream":"docker.io","hosts":[{"host":"http://m"}]}]}`,
		`null`, `[]`, `{"caches":null}`, `{"caches":[null]}`, `{"nodes":{}}`, `{"caches":[{"upstream":"a","resources":{"limits":{"cpu":"x"}}}]}`,
	} {
		f.Add([]byte(seed))
	}
	s, err := variable.New()
	NewWithT(f).Expect(err).NotTo(HaveOccurred())
	f.Fuzz(func(t *testing.T, value []byte) {
		g := NewWithT(t)
		spec, errs := s.Parse(t.Context(), apiextensionsv1.JSON{Raw: value})
		g.Expect(spec == nil).To(Equal(len(errs) > 0))
		if spec == nil {
			g.Expect(variable.Message(errs)).NotTo(BeEmpty())
			return
		}
		again, errs := s.Parse(t.Context(), encode(t, spec))
		g.Expect(errs).To(BeEmpty())
		g.Expect(encode(t, again)).To(Equal(encode(t, spec)))
	})
}

func encode(t *testing.T, spec *addonsv1.RegistryCacheSpec) apiextensionsv1.JSON {
	t.Helper()
	raw, err := json.Marshal(spec)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return apiextensionsv1.JSON{Raw: raw}
}
