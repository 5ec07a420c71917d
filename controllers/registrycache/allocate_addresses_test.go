package registrycache

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/address"
)

func TestServiceBandIsThatOfTheClustersServiceCIDR(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   string
		blocks []string
		first  string
		err    string
	}{
		"a CIDR that is set":                {"KubeadmControlPlane", []string{"10.128.0.0/16"}, "10.128.1.0", ""},
		"dual-stack: the first CIDR counts": {"", []string{"fd00:10:96::/112", "10.96.0.0/12"}, "fd00:10:96::100", ""},
		"kubeadm's default":                 {"KubeadmControlPlane", nil, "10.96.1.0", ""},
		"another control plane":             {"RKE2ControlPlane", nil, "", ""},
		"no control plane":                  {"", nil, "", ""},
		"not a CIDR":                        {"", []string{"10.96.0.0"}, "", `cidrBlocks[0]: "10.96.0.0" is not a CIDR; accepted are`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cluster := &clusterv1.Cluster{}
			cluster.Spec.ControlPlaneRef.Kind = tc.kind
			cluster.Spec.ClusterNetwork.Services.CIDRBlocks = tc.blocks
			band, err := serviceBand(cluster)
			if tc.err != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.err)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			if tc.first == "" {
				g.Expect(band).To(BeNil())
				return
			}
			first, err := band.Next(nil)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(first.String()).To(Equal(tc.first))
		})
	}
}

func TestAnAddressIsKeptWhileTheCacheLives(t *testing.T) {
	g := NewWithT(t)
	band, err := address.Parse("10.96.0.0/12")
	g.Expect(err).NotTo(HaveOccurred())
	rc := &addonsv1.RegistryCache{}
	allocate := func(upstreams ...string) map[string]string {
		rc.Spec.Caches = nil
		for _, upstream := range upstreams {
			rc.Spec.Caches = append(rc.Spec.Caches, addonsv1.Cache{Upstream: upstream})
		}
		used := inUse(rc.Status.Caches)
		rc.Status.Caches = entries(rc, &band)
		_, err := choose(band, rc, used)
		g.Expect(err).NotTo(HaveOccurred())
		endpoints := map[string]string{}
		for _, entry := range rc.Status.Caches {
			endpoints[entry.Upstream] = entry.Endpoint
		}
		return endpoints
	}
	g.Expect(allocate("docker.io", "quay.io")).To(Equal(map[string]string{"docker.io": "https://10.96.1.0:5000", "quay.io": "https://10.96.0.255:5000"}))
	g.Expect(allocate("ghcr.io", "quay.io", "docker.io")).To(Equal(map[string]string{
		"docker.io": "https://10.96.1.0:5000", "quay.io": "https://10.96.0.255:5000", "ghcr.io": "https://10.96.0.254:5000",
	}))
	g.Expect(allocate("registry.k8s.io", "quay.io", "ghcr.io")).To(Equal(map[string]string{
		"quay.io": "https://10.96.0.255:5000", "ghcr.io": "https://10.96.0.254:5000", "registry.k8s.io": "https://10.96.0.253:5000",
	}), "the address of a cache that leaves is not given away in the same breath")
	g.Expect(rc.Status.Caches[0].ServiceName).To(Equal("registry-registry-k8s-io"))
	g.Expect(rc.Status.Caches[0].RemoteURL).To(Equal("https://registry.k8s.io"))
}

func TestEndpointAndAddressOfAreReverse(t *testing.T) {
	rc := &addonsv1.RegistryCache{}
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io"}, {Upstream: "quay.io", TLS: addonsv1.TLS{Mode: addonsv1.TLSDisabled}}}
	for addr, want := range map[string]string{"10.96.1.0": "10.96.1.0:5000", "fd00:10:96::100": "[fd00:10:96::100]:5000"} {
		g := NewWithT(t)
		g.Expect(endpoint(rc, "docker.io", netip.MustParseAddr(addr))).To(Equal("https://" + want))
		g.Expect(endpoint(rc, "quay.io", netip.MustParseAddr(addr))).To(Equal("http://" + want))
		for _, scheme := range []string{"http://", "https://"} {
			back, err := addressOf(scheme + want)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(back.String()).To(Equal(addr))
		}
	}
	for _, broken := range []string{"", "http://", "http://name:5000", "::"} {
		_, err := addressOf(broken)
		NewWithT(t).Expect(err).To(HaveOccurred(), broken)
	}
}

func TestTheModeOfTLSChangesTheSchemeAndNotTheAddress(t *testing.T) {
	g := NewWithT(t)
	rc := &addonsv1.RegistryCache{}
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io"}}
	rc.Status.Caches = []addonsv1.CacheStatus{{Upstream: "docker.io", Endpoint: "https://10.96.1.0:5000"}}
	rc.Spec.Caches[0].TLS.Mode = addonsv1.TLSDisabled
	rc.Status.Caches = entries(rc, nil)
	g.Expect(rc.Status.Caches[0].Endpoint).To(Equal("http://10.96.1.0:5000"))
	rc.Spec.Caches[0].TLS.Mode = addonsv1.TLSEnabled
	g.Expect(entries(rc, nil)[0].Endpoint).To(Equal("https://10.96.1.0:5000"))
}
