package stack

import (
	"encoding/base64"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestTheStandInInjectsOnlyWhatACertificateHas is beside the specs of clusterctl, which would pass with a stand-in that injects too much.
func TestTheStandInInjectsOnlyWhatACertificateHas(t *testing.T) {
	for name, tc := range map[string]struct{ from, want, problem string }{
		"the Certificate that is named":    {from: "addon/serving-cert", want: "authority"},
		"one in another namespace":         {from: "system/serving-cert", problem: "Certificate system/serving-cert"},
		"one without the name prefix":      {from: "addon/cert", problem: "Certificate addon/cert"},
		"one whose Secret is not there":    {from: "addon/waiting", problem: "Secret waiting of Certificate addon/waiting"},
		"one whose Secret has no ca.crt":   {from: "addon/empty", problem: "Certificate addon/empty: it has no ca.crt"},
		"a placeholder without namespace":  {from: "CERTIFICATE", problem: "Certificate CERTIFICATE"},
		"nothing, as there is no such key": {},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			hook := newWebhook(tc.from)
			m := &Management{Client: fake.NewClientBuilder().WithObjects(hook, newCertificate("serving-cert"), issued("serving-cert", "authority"),
				newCertificate("waiting"), newCertificate("empty"), issued("empty", "")).Build()}
			err := m.injectAuthority(t.Context())
			if tc.problem == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(And(ContainSubstring("injecting nothing into MutatingWebhookConfiguration hook"), ContainSubstring(tc.problem))))
			}
			g.Expect(m.Client.Get(t.Context(), client.ObjectKeyFromObject(hook), hook)).To(Succeed())
			webhooks, _, _ := unstructured.NestedSlice(hook.Object, "webhooks")
			g.Expect(webhooks).To(HaveLen(1))
			bundle, _, _ := unstructured.NestedString(webhooks[0].(map[string]any), "clientConfig", "caBundle")
			g.Expect(base64.StdEncoding.DecodeString(bundle)).To(BeEquivalentTo(tc.want))
		})
	}
}

func newWebhook(from string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{map[string]any{"name": "one.example.com", "clientConfig": map[string]any{}}}}}
	u.SetGroupVersionKind(injected[0])
	u.SetName("hook")
	if from != "" {
		u.SetAnnotations(map[string]string{injectAnnotation: from})
	}
	return u
}

func newCertificate(name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"secretName": name}}}
	u.SetGroupVersionKind(certificateKind)
	u.SetNamespace("addon")
	u.SetName(name)
	return u
}

func issued(name, authority string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "addon", Name: name}, Data: map[string][]byte{"ca.crt": []byte(authority)}}
}
