package nodepayload_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

func TestNodesAreToldOfCachesThatTheyCanReachAndTrust(t *testing.T) {
	const plain, secure = "http://10.96.1.0:5000", "https://10.96.1.0:5000"
	bundle := []byte("certificates")
	for name, tc := range map[string]struct {
		endpoint string
		bundle   []byte
		deleted  bool
		want     []payload.Cache
	}{
		"TLS":                                 {endpoint: secure, bundle: bundle, want: []payload.Cache{{Upstream: "docker.io", Endpoint: secure, CA: bundle}}},
		"TLS, and nobody knows whom to trust": {endpoint: secure},
		"plain HTTP":                          {endpoint: plain, want: []payload.Cache{{Upstream: "docker.io", Endpoint: plain}}},
		"plain HTTP beside caches with TLS":   {endpoint: plain, bundle: bundle, want: []payload.Cache{{Upstream: "docker.io", Endpoint: plain}}},
		"no address":                          {bundle: bundle},
		"a RegistryCache that goes":           {endpoint: plain, deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			rc := &v1alpha1.RegistryCache{}
			rc.Status.CABundle = tc.bundle
			rc.Status.Caches = []v1alpha1.CacheStatus{{Upstream: "docker.io", Endpoint: tc.endpoint}}
			if tc.deleted {
				rc.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}
			NewWithT(t).Expect(nodepayload.Values(rc).Caches).To(Equal(tc.want))
		})
	}
	NewWithT(t).Expect(nodepayload.Values(nil)).To(Equal(payload.Values{}))
}
