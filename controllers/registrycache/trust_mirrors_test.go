package registrycache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestTrustedKeepsWhatWasGood(t *testing.T) {
	const host, namesBundle = "https://a.example", "mirror https://a.example of docker.io: "
	few, most := strings.Repeat("x", 100), strings.Repeat("x", maxCABundles-50)
	for name, tc := range map[string]struct {
		found       caBundle
		last, other string
		want        string
		trouble     string
	}{
		"certificates are taken":                       {found: caBundle{certificates: "new"}, last: "old", want: "new"},
		"what is wrong leaves the last":                {found: caBundle{trouble: "Secret corp: not found"}, last: "old", want: "old", trouble: namesBundle + "Secret corp: not found; nodes go on with the certificates that it had last"},
		"what is wrong from the beginning leaves none": {found: caBundle{trouble: "Secret corp: not found"}, trouble: "Secret corp: not found; nodes are not told of this mirror until then"},
		"a failure leaves the last":                    {found: caBundle{err: errors.New("time-out")}, last: "old", want: "old"},
		"too many beside others leave the last":        {found: caBundle{certificates: few}, last: "old", other: most, want: "old", trouble: "Secret corp, key ca.crt: 100 bytes are too many beside those of other mirrors; at most 262144 bytes in all are accepted; nodes go on"},
		"nothing fits beside others":                   {found: caBundle{certificates: few}, last: few + few, other: most, trouble: "nodes are not told of this mirror"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &scope{cache: &addonsv1.RegistryCache{}, mirrors: &mirrorsFact{}}
			s.cache.Spec.Mirrors = []addonsv1.Mirror{
				{Upstream: "quay.io", Hosts: []addonsv1.MirrorHost{{Host: host, CABundleSecretRef: &addonsv1.SecretReference{Name: "other"}}}},
				{Upstream: "docker.io", Hosts: []addonsv1.MirrorHost{{Host: "https://plain.example"}, {Host: host, CABundleSecretRef: &addonsv1.SecretReference{Name: "corp"}}}},
			}
			if tc.last != "" {
				s.cache.Status.MirrorCABundles = []addonsv1.MirrorCABundle{{Upstream: "docker.io", Host: host, CABundle: tc.last}, {Upstream: "gone.example", Host: host, CABundle: "gone"}}
			}
			got := trusted(s, map[string]caBundle{"corp": tc.found, "other": {certificates: tc.other}})
			var want []addonsv1.MirrorCABundle
			if tc.other != "" {
				want = append(want, addonsv1.MirrorCABundle{Upstream: "quay.io", Host: host, CABundle: tc.other})
			}
			if tc.want != "" {
				want = append(want, addonsv1.MirrorCABundle{Upstream: "docker.io", Host: host, CABundle: tc.want})
			}
			g.Expect(got).To(Equal(want))
			if tc.trouble == "" {
				g.Expect(s.mirrors.troubles).To(BeEmpty())
			} else {
				g.Expect(s.mirrors.troubles).To(ConsistOf(ContainSubstring(tc.trouble)))
			}
		})
	}
}

func TestSetStatusTellsOfMirrors(t *testing.T) {
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("mirror %d", i)
	}
	mirrorsOnly := func(s *scope) {
		s.cache.Spec.Caches, s.cache.Status.Caches, s.facts = nil, nil, nil
		s.cache.Spec.Mirrors = []addonsv1.Mirror{{Upstream: "docker.io"}}
		s.mirrors = &mirrorsFact{}
	}
	for name, tc := range map[string]struct {
		change func(*scope)
		// want are the conditions AddressesAllocated, CachesAvailable, MirrorsValid and Ready, each with its reason.
		want    []string
		message string
	}{
		"there are no mirrors": {func(*scope) {}, []string{"True Allocated", "True Available", "True NoMirrors", "True Ready"}, ""},
		"mirrors only":         {mirrorsOnly, []string{"True NoCaches", "True NoCaches", "True Valid", "True Ready"}, ""},
		"mirrors only, the Service CIDR is not known": {func(s *scope) {
			mirrorsOnly(s)
			s.addressing = addressFact{addonsv1.ServiceCIDRUnknownReason, "not set"}
		}, []string{"True NoCaches", "True NoCaches", "True Valid", "True Ready"}, ""},
		"mirrors only, the workload cluster is not connected": {func(s *scope) { mirrorsOnly(s); s.target = nil },
			[]string{"True NoCaches", "True NoCaches", "True Valid", "Unknown ReadyUnknown"}, ""},
		"mirrors only, the Cluster does not exist": {func(s *scope) { mirrorsOnly(s); s.cluster, s.mirrors = nil, nil },
			[]string{"False ClusterNotFound", "False ClusterNotFound", "False ClusterNotFound", "False NotReady"}, "no Cluster c"},
		"a Secret is missing": {func(s *scope) { mirrorsOnly(s); s.mirrors.troubles = []string{"mirror a: Secret corp: not found"} },
			[]string{"True NoCaches", "True NoCaches", "False CABundleNotUsable", "False NotReady"}, "mirror a: Secret corp: not found"},
		"many Secrets are missing": {func(s *scope) { mirrorsOnly(s); s.mirrors.troubles = many },
			[]string{"True NoCaches", "True NoCaches", "False CABundleNotUsable", "False NotReady"}, "mirror 9\nand 290 more mirrors"},
		"a Secret cannot be read": {func(s *scope) { mirrorsOnly(s); s.mirrors.err = errors.New("12:34:56 timed out") },
			[]string{"True NoCaches", "True NoCaches", "Unknown InternalError", "Unknown ReadyUnknown"}, "log of the manager"},
		"nobody looked": {func(s *scope) { mirrorsOnly(s); s.mirrors = nil },
			[]string{"True NoCaches", "True NoCaches", "Unknown InternalError", "Unknown ReadyUnknown"}, ""},
		"the RegistryCache is going": {func(s *scope) { mirrorsOnly(s); s.cache.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
			[]string{"True NoCaches", "False Deleting", "False Deleting", "False NotReady"}, "being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			tc.change(s)
			setStatus(s)
			var got []string
			for _, kind := range []string{addonsv1.AddressesAllocatedCondition, addonsv1.CachesAvailableCondition, addonsv1.MirrorsValidCondition, addonsv1.ReadyCondition} {
				c := conditions.Get(s.cache, kind)
				g.Expect(c).NotTo(BeNil(), kind)
				got = append(got, string(c.Status)+" "+c.Reason)
			}
			g.Expect(got).To(Equal(tc.want))
			message := conditions.Get(s.cache, addonsv1.MirrorsValidCondition).Message
			g.Expect(message).To(ContainSubstring(tc.message))
			g.Expect(message).NotTo(ContainSubstring("12:34:56"), "no variable text")
			before := s.cache.DeepCopy()
			setStatus(s)
			g.Expect(s.cache).To(Equal(before), "the same facts say the same (I6)")
		})
	}
}
