package webhooks

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestDataOfAPausedClusterStaysAsItIs(t *testing.T) {
	for name, tc := range map[string]struct {
		paused  *bool
		cached  error
		patches int
	}{
		"a Cluster that is paused":                        {paused: ptr.To(true)},
		"a Cluster that is not":                           {paused: ptr.To(false), patches: 1},
		"a Cluster that says nothing":                     {patches: 1},
		"a paused Cluster that is only on the API server": {paused: ptr.To(true), cached: errors.New("not filled")},
	} {
		t.Run(name, func(t *testing.T) {
			handler, _ := newHandler(t, nil, nil)
			reader := func(err error) client.Reader {
				return interceptor.NewClient(fake.NewClientBuilder().WithScheme(newScheme(NewWithT(t))).WithObjects(registryCache(), cluster(tc.paused)).Build(), failing(err))
			}
			handler.cached, handler.live = reader(tc.cached), reader(nil)
			response := handler.Handle(t.Context(), request(t, cloudConfig))
			NewWithT(t).Expect(response.Allowed).To(BeTrue())
			NewWithT(t).Expect(response.Patches).To(HaveLen(tc.patches))
		})
	}
}
