package webhooks

import (
	"encoding/base64"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// grown is how many bytes injection adds to cloudConfig.
func grown(g *WithT) int {
	result := Inject(registryCache(), []byte(cloudConfig), "", Limits{MaxBytes: DefaultMaxBytes})
	g.Expect(result.Injected).To(BeTrue())
	return len(result.Data) - len(cloudConfig)
}

// padded is cloudConfig, larger by a comment.
func padded(size int) string {
	return cloudConfig + "#" + strings.Repeat("x", size-len(cloudConfig)-2) + "\n"
}

// I1: a Secret that is too large as a whole is refused by the API server, and its Machine never boots.
func TestDataIsInjectedUpToTheLimitAndWhatFitsIntoASecret(t *testing.T) {
	growth := grown(NewWithT(t))
	secretRoom := corev1.MaxSecretSize - len("cloud-config")
	for name, tc := range map[string]struct{ max, size, patches int }{
		"as large as the limit allows":     {max: 8000, size: 8000 - growth, patches: 1},
		"one byte more":                    {max: 8000, size: 8001 - growth},
		"as large as the Secret allows":    {max: DefaultMaxBytes, size: secretRoom - growth, patches: 1},
		"a byte more than fits in it":      {max: DefaultMaxBytes, size: secretRoom - growth + 1},
		"over the limit without our doing": {max: 8000, size: 9000},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			handler, recorder := newHandler(t, nil, nil)
			handler.limits = Limits{MaxBytes: tc.max}
			g.Expect(handler.Handle(t.Context(), request(t, padded(tc.size))).Patches).To(HaveLen(tc.patches))
			if tc.patches == 0 {
				g.Expect(recorder.Events).To(Receive(And(ContainSubstring(PassedThroughEventReason), ContainSubstring("bytes with them, at most"))))
			}
			g.Expect(recorder.Events).To(BeEmpty())
		})
	}
}

func TestDataThatHadTheCachesBeforeIsNotRefusedForItsSize(t *testing.T) {
	g := NewWithT(t)
	injected := Inject(registryCache(), []byte(cloudConfig), "", Limits{MaxBytes: DefaultMaxBytes})
	again := Inject(registryCache(), injected.Data, "", Limits{MaxBytes: 100})
	g.Expect(again).To(Equal(injected))
}

func TestDataThatTheCachesTakeOverASizeIsInjectedAndTold(t *testing.T) {
	growth := grown(NewWithT(t))
	for name, tc := range map[string]struct {
		warn, size int
		told       bool
	}{
		"up to the size":        {DefaultWarnBytes, DefaultWarnBytes - growth, false},
		"over it by the caches": {DefaultWarnBytes, DefaultWarnBytes - growth + 1, true},
		"just within it before": {DefaultWarnBytes, DefaultWarnBytes, true},
		"over it before":        {DefaultWarnBytes, DefaultWarnBytes + 1, false},
		"any size is fine":      {0, DefaultWarnBytes, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			handler, recorder := newHandler(t, nil, nil)
			handler.limits.WarnBytes = tc.warn
			response := handler.Handle(t.Context(), request(t, padded(tc.size)))
			g.Expect(response.Patches).To(HaveLen(1))
			value, _ := response.Patches[0].Value.(string)
			g.Expect(base64.StdEncoding.DecodedLen(len(value))).To(BeNumerically("~", tc.size+growth, 2))
			if tc.told {
				g.Expect(recorder.Events).To(Receive(And(ContainSubstring(LargeEventReason), ContainSubstring("16384"))))
			}
			g.Expect(recorder.Events).To(BeEmpty())
		})
	}
}
