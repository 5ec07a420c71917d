package registrycache

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/address"
)

func TestAddressesOfALostStatusAreThoseOfTheAnnotation(t *testing.T) {
	const cidr = "10.96.0.0/12"
	band, err := address.Parse(cidr)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		annotation string
		band       *address.Band
		status     []addonsv1.CacheStatus
		// docker and quay are the endpoints then; "" is one that has to be chosen.
		docker, quay string
	}{
		"both are known": {`{"quay.io":"10.96.1.0","docker.io":"10.96.0.255"}`, &band, nil, "https://10.96.0.255:5000", "https://10.96.1.0:5000"},
		"one is new":     {`{"quay.io":"10.96.1.0","gone.io":"10.96.0.255"}`, &band, nil, "", "https://10.96.1.0:5000"},
		"what is outside of the Service CIDR is not one": {`{"quay.io":"10.128.1.0","docker.io":"fd00::1"}`, &band, nil, "", ""},
		"with an unknown Service CIDR any may be":        {`{"quay.io":"10.128.1.0","docker.io":"fd00::1"}`, nil, nil, "https://[fd00::1]:5000", "https://10.128.1.0:5000"},
		"two caches have no address in common":           {`{"quay.io":"10.96.1.0","docker.io":"10.96.1.0"}`, &band, nil, "https://10.96.1.0:5000", ""},
		"what is no address":                             {`{"quay.io":"quay","docker.io":"10.96.1.0"}`, &band, nil, "", ""},
		"what is no JSON object":                         {`10.96.1.0`, &band, nil, "", ""},
		"the status counts if there is one": {`{"quay.io":"10.96.1.0","docker.io":"10.96.0.255"}`, &band,
			[]addonsv1.CacheStatus{{Upstream: "docker.io", Endpoint: "https://10.96.1.0:5000"}}, "https://10.96.1.0:5000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{addonsv1.AddressesAnnotation: tc.annotation}}}
			rc.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io"}, {Upstream: "quay.io"}}
			rc.Status.Caches = tc.status
			got := entries(rc, tc.band)
			g.Expect([]string{got[0].Endpoint, got[1].Endpoint}).To(Equal([]string{tc.docker, tc.quay}))
		})
	}
}

func TestTheAnnotationIsACopyOfTheStatus(t *testing.T) {
	g := NewWithT(t)
	rc := &addonsv1.RegistryCache{}
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "quay.io"}, {Upstream: "docker.io"}}
	rc.Status.Caches = []addonsv1.CacheStatus{
		{Upstream: "quay.io", Endpoint: "https://10.96.1.0:5000"}, {Upstream: "docker.io", Endpoint: "http://[fd00::1]:5000"}, {Upstream: "ghcr.io"},
	}
	s := &scope{cache: rc, cluster: &clusterv1.Cluster{}, allocated: true}
	rememberAddresses(s)
	g.Expect(rc.Annotations).To(HaveKeyWithValue(addonsv1.AddressesAnnotation, `{"docker.io":"fd00::1","quay.io":"10.96.1.0"}`))

	moved := &addonsv1.RegistryCache{ObjectMeta: *rc.ObjectMeta.DeepCopy(), Spec: rc.Spec}
	rememberAddresses(&scope{cache: moved})
	g.Expect(moved.Annotations).To(Equal(rc.Annotations), "before its Cluster is seen")
	rememberAddresses(&scope{cache: moved, cluster: &clusterv1.Cluster{}})
	g.Expect(moved.Annotations).To(Equal(rc.Annotations), "after an error before the addresses were read")
	g.Expect(entries(moved, nil)).To(ConsistOf(HaveField("Endpoint", "https://10.96.1.0:5000"), HaveField("Endpoint", "https://[fd00::1]:5000")),
		"the scheme is that of the spec")

	rc.Status.Caches = nil
	rememberAddresses(s)
	g.Expect(rc.Annotations).NotTo(HaveKey(addonsv1.AddressesAnnotation), "there are no caches any more")
}
