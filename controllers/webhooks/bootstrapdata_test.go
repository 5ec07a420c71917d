package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	cloudConfig = "#cloud-config\nruncmd:\n- kubeadm join\n"
	powershell  = "<powershell>secret</powershell>\n"
)

func newScheme(g *WithT) *runtime.Scheme {
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return scheme
}

// newHandler serves one RegistryCache; a reader that fails stands for a cache that is not filled or an API server that is down.
func newHandler(g *WithT, cachedFails, liveFails bool) (*bootstrapData, *events.FakeRecorder) {
	rc := &v1alpha1.RegistryCache{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c1"},
		Status:     v1alpha1.RegistryCacheStatus{Caches: []v1alpha1.CacheStatus{{Upstream: "docker.io", Endpoint: "http://10.96.1.0:5000"}}},
	}
	scheme := newScheme(g)
	good := fake.NewClientBuilder().WithScheme(scheme).WithObjects(rc).Build()
	bad := interceptor.NewClient(good, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("not now")
		},
	})
	reader := func(fails bool) client.Reader {
		if fails {
			return bad
		}
		return good
	}
	recorder := events.NewFakeRecorder(1)
	return &bootstrapData{cached: reader(cachedFails), live: reader(liveFails), decoder: admission.NewDecoder(scheme), recorder: recorder}, recorder
}

func request(g *WithT, value string) admission.Request {
	raw, err := json.Marshal(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "node", Labels: map[string]string{clusterv1.ClusterNameLabel: "c1"}},
		Data:       map[string][]byte{valueKey: []byte(value), formatKey: []byte("cloud-config")},
	})
	g.Expect(err).NotTo(HaveOccurred())
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Namespace: "ns", Name: "node", Object: runtime.RawExtension{Raw: raw},
	}}
}

// I1: whatever happens, the answer is yes.
func TestEveryRequestIsAllowed(t *testing.T) {
	for name, tc := range map[string]struct {
		value                  string
		cachedFails, liveFails bool
		broken                 bool
		patches                int
		format, result         string
	}{
		"data that is understood":          {value: cloudConfig, patches: 1, format: "cloud-config", result: resultInjected},
		"data that is not understood":      {value: powershell, format: "unknown", result: resultPassedThrough},
		"the cache is not filled yet":      {value: cloudConfig, cachedFails: true, patches: 1, format: "cloud-config", result: resultInjected},
		"the API server does not answer":   {value: cloudConfig, cachedFails: true, liveFails: true, format: "unknown", result: resultError},
		"a request that cannot be decoded": {value: cloudConfig, broken: true, format: "unknown", result: resultError},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			handler, _ := newHandler(g, tc.cachedFails, tc.liveFails)
			req := request(g, tc.value)
			if tc.broken {
				req.Object.Raw = []byte("{")
			}
			counter := injections.WithLabelValues(tc.format, tc.result)
			before := testutil.ToFloat64(counter)
			response := handler.Handle(t.Context(), req)
			g.Expect(response.Allowed).To(BeTrue())
			g.Expect(response.Patches).To(HaveLen(tc.patches))
			for _, p := range response.Patches {
				g.Expect(p.Operation + " " + p.Path).To(Equal("replace /data/value"))
			}
			g.Expect(testutil.ToFloat64(counter) - before).To(Equal(1.0))
		})
	}
}

func TestADryRunLeavesNoEvent(t *testing.T) {
	g := NewWithT(t)
	handler, recorder := newHandler(g, false, false)
	req := request(g, powershell)
	req.DryRun = ptr.To(true)
	handler.Handle(t.Context(), req)
	g.Expect(recorder.Events).To(BeEmpty())
	req.DryRun = nil
	handler.Handle(t.Context(), req)
	g.Expect(recorder.Events).To(Receive(And(ContainSubstring(NotUnderstoodEventReason), Not(ContainSubstring("secret")))))
}

func TestAProviderCannotChooseTheFormatsOfTheMetric(t *testing.T) {
	g := NewWithT(t)
	unknown := injections.WithLabelValues("unknown", resultPassedThrough)
	before := testutil.ToFloat64(unknown)
	count("made-up", resultPassedThrough)
	g.Expect(testutil.ToFloat64(unknown) - before).To(Equal(1.0))
}
