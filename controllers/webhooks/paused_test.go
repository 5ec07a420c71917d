package webhooks

import (
	"cmp"
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
		paused  *bool // on the API server
		cached  error
		before  *bool // in the cache, if it is another one
		patches int
	}{
		"a Cluster that is paused":                         {paused: ptr.To(true)},
		"a Cluster that is not":                            {paused: ptr.To(false), patches: 1},
		"a Cluster that says nothing":                      {patches: 1},
		"a paused Cluster that is only on the API server":  {paused: ptr.To(true), cached: errors.New("not filled")},
		"a Cluster that was paused a moment ago":           {paused: ptr.To(false), before: ptr.To(true), patches: 1},
		"a Cluster whose pause was taken out a moment ago": {before: ptr.To(true), patches: 1},
	} {
		t.Run(name, func(t *testing.T) {
			handler, _ := newHandler(t, nil, nil)
			reader := func(paused *bool, err error) client.Reader {
				return interceptor.NewClient(fake.NewClientBuilder().WithScheme(newScheme(NewWithT(t))).WithObjects(registryCache(), cluster(paused)).Build(), failing(err))
			}
			handler.cached, handler.live = reader(cmp.Or(tc.before, tc.paused), tc.cached), reader(tc.paused, nil)
			response := handler.Handle(t.Context(), request(t, cloudConfig))
			NewWithT(t).Expect(response.Allowed).To(BeTrue())
			NewWithT(t).Expect(response.Patches).To(HaveLen(tc.patches))
		})
	}
}
