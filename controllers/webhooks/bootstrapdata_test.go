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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/cache"
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
	g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
	return scheme
}

// newHandler serves one RegistryCache and its Cluster; cached and live are what reading goes wrong with, nil if it does not.
func newHandler(t *testing.T, cached, live error) (*bootstrapData, *events.FakeRecorder) {
	t.Helper()
	scheme := newScheme(NewWithT(t))
	reader := func(err error) client.Reader {
		return interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(registryCache(), cluster(nil)).Build(), failing(err))
	}
	recorder := events.NewFakeRecorder(10)
	return &bootstrapData{
		limits: Limits{MaxBytes: DefaultMaxBytes, WarnBytes: DefaultWarnBytes},
		cached: reader(cached), live: reader(live), decoder: admission.NewDecoder(scheme), recorder: recorder,
		told: cache.New[notice](t.Context(), eventLife),
	}, recorder
}

// failing lets every read fail, if it is to.
func failing(err error) interceptor.Funcs {
	if err == nil {
		return interceptor.Funcs{}
	}
	return interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return err
	}}
}

func cluster(paused *bool) *clusterv1.Cluster {
	return &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c1"}, Spec: clusterv1.ClusterSpec{Paused: paused}}
}

func registryCache() *v1alpha1.RegistryCache {
	return &v1alpha1.RegistryCache{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c1"},
		Status:     v1alpha1.RegistryCacheStatus{Caches: []v1alpha1.CacheStatus{{Upstream: "docker.io", Endpoint: "http://10.96.1.0:5000"}}},
	}
}

func request(t *testing.T, value string) admission.Request {
	t.Helper()
	raw, err := json.Marshal(&corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "node", Labels: map[string]string{clusterv1.ClusterNameLabel: "c1"},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "example.com/v1", Kind: "Other", Name: "other"},
				{APIVersion: "bootstrap.cluster.x-k8s.io/v1beta2", Kind: "KubeadmConfig", Name: "node"},
			},
		},
		Data: map[string][]byte{valueKey: []byte(value), formatKey: []byte("cloud-config")},
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Namespace: "ns", Name: "node", Object: runtime.RawExtension{Raw: raw},
	}}
}

// I1: whatever happens, the answer is yes.
func TestEveryRequestIsAllowed(t *testing.T) {
	const kubeadmConfigs = "kubeadmconfigs.bootstrap.cluster.x-k8s.io"
	forbidden := apierrors.NewForbidden(schema.ParseGroupResource(kubeadmConfigs), "node", nil)
	for name, tc := range map[string]struct {
		value          string
		cached, live   error
		broken         bool
		patches        int
		format, result string
	}{
		"data that is understood":                    {value: cloudConfig, patches: 1, format: "cloud-config", result: resultInjected},
		"data that is not understood":                {value: powershell, format: "unknown", result: resultPassedThrough},
		"the API server does not answer":             {value: cloudConfig, cached: errors.New("not now"), live: errors.New("not now"), format: "unknown", result: resultError},
		"a request that cannot be decoded":           {value: cloudConfig, broken: true, format: "unknown", result: resultError},
		"the bootstrap config may not be read":       {value: cloudConfig, live: forbidden, patches: 1, format: "cloud-config", result: resultInjected},
		"the kind of bootstrap config is not served": {value: cloudConfig, live: &meta.NoKindMatchError{}, patches: 1, format: "cloud-config", result: resultInjected},
		"nobody knows whether it is to have caches":  {value: cloudConfig, live: apierrors.NewTimeoutError("slow", 1), format: "unknown", result: resultError},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			handler, _ := newHandler(t, tc.cached, tc.live)
			req := request(t, tc.value)
			if tc.broken {
				req.Object.Raw = []byte("{")
			}
			counter := Injections.WithLabelValues(tc.format, tc.result)
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

func TestTheAPIServerIsAskedWhileTheCacheIsNotFilled(t *testing.T) {
	handler, _ := newHandler(t, errors.New("not filled"), nil)
	NewWithT(t).Expect(handler.Handle(t.Context(), request(t, cloudConfig)).Patches).To(HaveLen(1))
}

// A mirror needs no address, and no Secret at this time: what is known of its certificates is in the status.
func TestMirrorsAreInjectedWithoutACache(t *testing.T) {
	for name, tc := range map[string]struct {
		host    v1alpha1.MirrorHost
		patches int
	}{
		"a mirror":                           {v1alpha1.MirrorHost{Host: "https://mirror.example"}, 1},
		"a mirror with unknown certificates": {v1alpha1.MirrorHost{Host: "https://mirror.example", CABundleSecretRef: &v1alpha1.SecretReference{Name: "corp"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			handler, _ := newHandler(t, nil, nil)
			rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c1"}}
			rc.Spec.Mirrors = []v1alpha1.Mirror{{Upstream: "docker.io", Hosts: []v1alpha1.MirrorHost{tc.host}}}
			handler.cached = fake.NewClientBuilder().WithScheme(newScheme(g)).WithObjects(rc).Build()
			g.Expect(handler.Handle(t.Context(), request(t, cloudConfig)).Patches).To(HaveLen(tc.patches))
		})
	}
}

func TestADryRunLeavesNoEvent(t *testing.T) {
	g := NewWithT(t)
	handler, recorder := newHandler(t, nil, nil)
	req := request(t, powershell)
	req.DryRun = ptr.To(true)
	handler.Handle(t.Context(), req)
	g.Expect(recorder.Events).To(BeEmpty())
	req.DryRun = nil
	handler.Handle(t.Context(), req)
	g.Expect(recorder.Events).To(Receive(And(ContainSubstring(PassedThroughEventReason), Not(ContainSubstring("secret")))))
}

// Token rotation of a MachinePool writes its Secret again and again.
func TestTheSameIsToldOfASecretOnce(t *testing.T) {
	g := NewWithT(t)
	handler, recorder := newHandler(t, nil, nil)
	for range 3 {
		handler.Handle(t.Context(), request(t, powershell))
	}
	g.Expect(recorder.Events).To(HaveLen(1))
	other := request(t, powershell)
	other.Name = "other"
	handler.Handle(t.Context(), other)
	g.Expect(recorder.Events).To(HaveLen(2))
}

func TestTheMetricHasFormatsOfOursAndNoDryRuns(t *testing.T) {
	g := NewWithT(t)
	unknown := Injections.WithLabelValues("unknown", resultPassedThrough)
	before := testutil.ToFloat64(unknown)
	count(admission.Request{}, "made-up", resultPassedThrough)
	g.Expect(testutil.ToFloat64(unknown) - before).To(Equal(1.0))

	dry := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{DryRun: ptr.To(true)}}
	count(dry, "made-up", resultPassedThrough)
	g.Expect(testutil.ToFloat64(unknown)-before).To(Equal(1.0), "doctor asks so")
}
