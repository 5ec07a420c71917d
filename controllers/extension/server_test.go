package extension_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	certutil "k8s.io/client-go/util/cert"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/cluster-api/core/webhooks/admission"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/extension"
)

// served is a running server, asked as Cluster API asks: by HTTPS, at the paths of its catalog.
type served struct {
	*WithT
	url     string
	client  *http.Client
	catalog *runtimecatalog.Catalog
}

// serve runs the server until the test ends, with a webhook beside the extension.
func serve(t *testing.T) *served {
	t.Helper()
	g := NewWithT(t)
	folder, port := t.TempDir(), freePort(t)
	certificate, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.ParseIP("127.0.0.1")}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(certutil.WriteCert(filepath.Join(folder, "serving.crt"), certificate)).To(Succeed())
	g.Expect(certutil.WriteCert(filepath.Join(folder, "serving.key"), key)).To(Succeed())
	server, err := extension.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, CertDir: folder, CertName: "serving.crt", KeyName: "serving.key"})
	g.Expect(err).NotTo(HaveOccurred())
	server.Register("/a-webhook", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Expect(<-ended).To(Succeed())
	})
	g.Eventually(func() error { return server.StartedChecker()(nil) }, 10*time.Second).Should(Succeed())
	catalog := runtimecatalog.New()
	g.Expect(runtimehooksv1.AddToCatalog(catalog)).To(Succeed())
	return &served{WithT: g, url: "https://127.0.0.1:" + strconv.Itoa(port), client: clientFor(t, certificate), catalog: catalog}
}

func clientFor(t *testing.T, certificate []byte) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	NewWithT(t).Expect(pool.AppendCertsFromPEM(certificate)).To(BeTrue())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer listener.Close() //nolint:errcheck // nothing was sent
	return listener.Addr().(*net.TCPAddr).Port
}

// call asks a handler of a hook. Its name is "" for the discovery.
func (s *served) call(t *testing.T, hook runtimecatalog.Hook, handler string, request, response any) {
	t.Helper()
	gvh, err := s.catalog.GroupVersionHook(hook)
	s.Expect(err).NotTo(HaveOccurred())
	body, err := json.Marshal(request)
	s.Expect(err).NotTo(HaveOccurred())
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+runtimecatalog.GVHToPath(gvh, handler), bytes.NewReader(body))
	s.Expect(err).NotTo(HaveOccurred())
	answer, err := s.client.Do(post)
	s.Expect(err).NotTo(HaveOccurred())
	defer answer.Body.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(answer.Body)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(answer.StatusCode).To(Equal(http.StatusOK), string(content))
	s.Expect(json.Unmarshal(content, response)).To(Succeed())
}

func TestClusterAPIDiscoversTheHandlers(t *testing.T) {
	s := serve(t)
	discovery := &runtimehooksv1.DiscoveryResponse{}
	s.call(t, runtimehooksv1.Discovery, "", &runtimehooksv1.DiscoveryRequest{}, discovery)
	s.Expect(discovery.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess), discovery.Message)
	policies := map[string]string{}
	for _, handler := range discovery.Handlers {
		policies[handler.Name+" "+handler.RequestHook.Hook] = string(*handler.FailurePolicy)
	}
	s.Expect(policies).To(Equal(map[string]string{
		"discover-variables DiscoverVariables": "Fail",
		"generate-patches GeneratePatches":     "Ignore",
		"validate-topology ValidateTopology":   "Ignore",
	}), "the names are in ClusterClasses, and a manager that is down is in nobody's way (I1)")
}

func TestWebhooksAreServedBesideTheExtension(t *testing.T) {
	s := serve(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/a-webhook", http.NoBody)
	s.Expect(err).NotTo(HaveOccurred())
	answer, err := s.client.Do(request)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(answer.Body.Close()).To(Succeed())
	s.Expect(answer.StatusCode).To(Equal(http.StatusTeapot))
}

// discover returns the variable that the extension tells of.
func (s *served) discover(t *testing.T) clusterv1.ClusterClassVariable {
	t.Helper()
	response := &runtimehooksv1.DiscoverVariablesResponse{}
	s.call(t, runtimehooksv1.DiscoverVariables, "discover-variables", &runtimehooksv1.DiscoverVariablesRequest{}, response)
	s.Expect(response.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess), response.Message)
	s.Expect(response.Variables).To(HaveLen(1))
	return response.Variables[0]
}

// TestClusterAPIAcceptsTheVariableThatItDiscovers lets the code of Cluster API's webhooks judge the schema, and a value by it.
func TestClusterAPIAcceptsTheVariableThatItDiscovers(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gates, feature.ClusterTopology, true)
	s := serve(t)
	discovered := s.discover(t)
	s.Expect(discovered.Name).To(Equal("registryCache"))
	class := &clusterv1.ClusterClass{}
	class.Status.Variables = []clusterv1.ClusterClassStatusVariable{{Name: discovered.Name, Definitions: []clusterv1.ClusterClassStatusVariableDefinition{
		{From: "registry-cache", Required: discovered.Required, Schema: discovered.Schema},
	}}}
	for value, want := range map[string]string{
		`{"caches":[{"upstream":"docker.io"}]}`:         "",
		`{"caches":[{"upstream":"https://docker.io"}]}`: "upstream: https://docker.io is not host[:port]; accepted are a lower-case DNS name",
	} {
		cluster := &clusterv1.Cluster{}
		cluster.Spec.Topology.Variables = []clusterv1.ClusterVariable{{Name: "registryCache", Value: apiextensionsv1.JSON{Raw: []byte(value)}}}
		errs := (&admission.Cluster{}).DefaultAndValidateVariables(t.Context(), cluster, nil, class)
		if want == "" {
			s.Expect(errs).To(BeEmpty())
		} else {
			s.Expect(errs).To(ConsistOf(MatchError(ContainSubstring(want))))
		}
	}
}

func TestNoTemplateIsPatched(t *testing.T) {
	s := serve(t)
	response := &runtimehooksv1.GeneratePatchesResponse{}
	s.call(t, runtimehooksv1.GeneratePatches, "generate-patches", &runtimehooksv1.GeneratePatchesRequest{
		Items: []runtimehooksv1.GeneratePatchesRequestItem{{UID: "1"}}, Variables: variables(`{"caches":[{"upstream":"docker.io"}]}`),
	}, response)
	s.Expect(response.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess), response.Message)
	s.Expect(response.Items).To(BeEmpty())
}

func variables(value string) []runtimehooksv1.Variable {
	builtin := runtimehooksv1.Variable{Name: "builtin", Value: apiextensionsv1.JSON{Raw: []byte(`{"cluster":{"name":"c"}}`)}}
	if value == "" {
		return []runtimehooksv1.Variable{builtin}
	}
	return []runtimehooksv1.Variable{builtin, {Name: "registryCache", Value: apiextensionsv1.JSON{Raw: []byte(value)}}}
}

func TestATopologyWithABadValueIsRefusedWithOurMessage(t *testing.T) {
	s := serve(t)
	const at = "spec.topology.variables[registryCache].value"
	for name, test := range map[string]struct {
		value string
		want  *string
	}{
		"no value":    {"", nil},
		"a good one":  {`{"caches":[{"upstream":"docker.io"}]}`, nil},
		"no upstream": {`{"caches":[{"volume":{"size":"1Gi"}}]}`, ptr.To(at + `.caches[0].upstream: Required value`)},
		"a bad one": {`{"caches":[{"upstream":"docker.io","volume":{"size":"big"}}]}`,
			ptr.To(at + `.caches[0].volume.size: Invalid value: "big": volume.size: big is not a quantity greater than 0; accepted are values such as 10Gi`)},
		"an unknown field": {`{"caches":[{"upstream":"docker.io","volume":{"sise":"1Gi"}}]}`,
			ptr.To(at + `.caches[0].volume.sise: Invalid value: "unknown field": there is no such field; accepted are size, storageClassName, type`)},
		"what a ClusterClass cannot say": {`{"mirrors":[{"upstream":"docker.io","hosts":[{"host":"https://m.test","capabilities":["pull","pull"]}]}]}`,
			ptr.To(at + `.mirrors[0].hosts[0].capabilities[1]: Duplicate value: "pull"`)},
	} {
		t.Run(name, func(t *testing.T) {
			response := &runtimehooksv1.ValidateTopologyResponse{}
			request := &runtimehooksv1.ValidateTopologyRequest{Variables: variables(test.value), Items: []*runtimehooksv1.ValidateTopologyRequestItem{}}
			s.call(t, runtimehooksv1.ValidateTopology, "validate-topology", request, response)
			got := fmt.Sprintf("%s %s", response.Status, response.Message)
			if test.want == nil {
				NewWithT(t).Expect(got).To(Equal("Success "))
			} else {
				NewWithT(t).Expect(got).To(Equal("Failure " + *test.want))
			}
		})
	}
}
