package topology_test

import (
	"regexp"
	"strings"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

// judged are values of which each is good or bad in one way: bad in several, they are told of in no order.
var judged = []string{
	one,
	`{mirrors: [{upstream: docker.io, hosts: [{host: "https://m.test", capabilities: [pull, resolve], overridePath: true}]}]}`,
	`{caches: [{upstream: docker.io, remoteURL: null, revalidateAfter: 5m, garbageCollection: {ttl: 0s}, tolerations: [{operator: Exists}]}]}`,
	`{caches: [{upstream: docker.io, resources: {requests: {cpu: 1, memory: 64Mi}, limits: {cpu: "2"}}, nodeSelector: {a: b}}]}`,
	`{}`,
	`{namespace: Two, caches: [{upstream: docker.io}]}`,
	`{caches: [{}]}`,
	`{caches: [{upstream: ""}]}`,
	`{caches: [{upstream: "https://docker.io"}]}`,
	`{caches: [{upstream: docker.io, replicas: 0}]}`,
	`{caches: [{upstream: docker.io, replicas: 1.5}]}`,
	`{caches: [{upstream: docker.io, replicas: two}]}`,
	`{caches: [{upstream: docker.io, volume: {type: Tape}}]}`,
	`{caches: [{upstream: docker.io, volume: {size: -1}}]}`,
	`{caches: [{upstream: docker.io, volume: {type: EmptyDir, storageClassName: fast}}]}`,
	`{caches: [{upstream: docker.io, garbageCollection: {ttl: a week}}]}`,
	`{caches: [{upstream: docker.io, proxy: {}}]}`,
	`{caches: [{upstream: docker.io, proxy: {httpProxy: proxy}}]}`,
	`{caches: [{upstream: docker.io, credentialsSecretRef: {}}]}`,
	`{caches: [{upstream: docker.io}, {upstream: docker.io}]}`,
	`{mirrors: [{upstream: docker.io, hosts: []}]}`,
	`{mirrors: [{upstream: docker.io, hosts: [{host: "http://m.test", caBundleSecretRef: {name: ca}}]}]}`,
	`{mirrors: [{upstream: docker.io, hosts: [{host: "http://m.test", capabilities: [resolve]}]}]}`,
	`{mirrors: [{upstream: docker.io, hosts: [{host: "http://m.test", capabilities: [pull, pull]}]}]}`,
	`{nodes: {certsDir: etc}, caches: [{upstream: docker.io}]}`,
	`{nodes: {existing: Maybe}, caches: [{upstream: docker.io}]}`,
}

func (f *fixture) request() ctrl.Request { return ctrl.Request{NamespacedName: f.key()} }

// judge returns what we say of a value, and what the API server says of a RegistryCache with it: the complaint, or the spec with defaults.
func (f *fixture) judge(value string) (ours, theirs any) {
	f.t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(value))
	f.Expect(err).NotTo(HaveOccurred())
	schema, err := variable.New()
	f.Expect(err).NotTo(HaveOccurred())
	spec, errs := schema.Parse(f.t.Context(), apiextensionsv1.JSON{Raw: raw})

	var content map[string]any
	f.Expect(yaml.Unmarshal(raw, &content)).To(Succeed())
	u := &unstructured.Unstructured{Object: map[string]any{"spec": content}}
	u.SetGroupVersionKind(addonsv1.GroupVersion.WithKind("RegistryCache"))
	u.SetNamespace(f.namespace)
	u.SetName("c")
	err = env.Client.Create(f.t.Context(), u, client.DryRunAll, client.FieldValidation("Strict"))
	if err != nil || len(errs) > 0 {
		said, _, _ := strings.Cut(variable.Message(errs), `; spec.topology.variables[registryCache].value: Invalid value: "": `)
		return said, f.complaint(err)
	}
	stored := &addonsv1.RegistryCache{}
	f.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, stored)).To(Succeed())
	return *spec, stored.Spec
}

// complaint leaves out what the API server says of the object as a whole, after it has named the field.
func (f *fixture) complaint(err error) string {
	f.t.Helper()
	if err == nil {
		return "no complaint"
	}
	said, _, _ := strings.Cut(variable.Rejection(err), "; <nil>: ")
	return specInBody.ReplaceAllString(said, "$1")
}

// specInBody is how a message names the field a second time, from where the schema begins.
var specInBody = regexp.MustCompile(`spec\.(\S+ in body)`)
