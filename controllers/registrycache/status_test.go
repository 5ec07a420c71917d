package registrycache

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

func TestSetStatusTurnsFactsIntoConditions(t *testing.T) {
	const (
		yes     = metav1.ConditionTrue
		no      = metav1.ConditionFalse
		unknown = metav1.ConditionUnknown
	)
	type expected struct {
		status         metav1.ConditionStatus
		reason, detail string
	}
	for name, tc := range map[string]struct {
		change           func(*scope)
		addresses, cache expected
		ready            expected
	}{
		"every cache serves": {
			func(*scope) {},
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{yes, "Ready", ""},
		},
		"the Cluster does not exist": {
			func(s *scope) { s.cluster, s.target, s.facts = nil, nil, nil },
			expected{no, "ClusterNotFound", "no Cluster c in namespace ns"}, expected{no, "ClusterNotFound", ""}, expected{no, "NotReady", "AddressesAllocated"},
		},
		"the Cluster is going": {
			func(s *scope) { s.cluster.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
			expected{yes, "Allocated", ""}, expected{no, "ClusterDeleting", ""}, expected{no, "NotReady", ""},
		},
		"the RegistryCache is going": {
			func(s *scope) { s.cache.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
			expected{yes, "Allocated", ""}, expected{no, "Deleting", ""}, expected{no, "NotReady", ""},
		},
		"the workload cluster is not connected": {
			func(s *scope) { s.target, s.facts = nil, nil },
			expected{yes, "Allocated", ""}, expected{unknown, "ClusterNotConnected", "as it is"}, expected{unknown, "ReadyUnknown", ""},
		},
		"the Service CIDR is not known": {
			func(s *scope) {
				s.target, s.facts = nil, nil
				s.addressing = addressFact{addonsv1.ServiceCIDRUnknownReason, "not set"}
				s.cache.Status.Caches[0].Endpoint = ""
			},
			expected{no, "ServiceCIDRUnknown", "not set"}, expected{unknown, "ClusterNotConnected", ""}, expected{no, "NotReady", ""},
		},
		"the Service CIDR is not known, but the addresses are": {
			func(s *scope) { s.addressing = addressFact{addonsv1.ServiceCIDRUnknownReason, "not set"} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{yes, "Ready", ""},
		},
		"a cache has no ready replica": {
			func(s *scope) { s.facts["quay.io"].readyReplicas = 0 },
			expected{yes, "Allocated", ""}, expected{no, "NotAvailable", "The cache of quay.io has no ready replica"}, expected{no, "NotReady", ""},
		},
		"an object was rejected while another cache waits": {
			func(s *scope) {
				s.facts["docker.io"].rejected = "Service registry-docker-io: bad"
				s.facts["quay.io"].readyReplicas = 0
			},
			expected{yes, "Allocated", ""}, expected{no, "ApplyFailed", "cache of docker.io: Service registry-docker-io: bad"}, expected{no, "NotReady", ""},
		},
		"a cache failed for a reason that may pass": {
			func(s *scope) { s.facts["docker.io"].err = errors.New("etcdserver: 12:34:56 timed out") },
			expected{yes, "Allocated", ""}, expected{unknown, "InternalError", "docker.io"}, expected{unknown, "ReadyUnknown", ""},
		},
		"the node payload was rejected": {
			func(s *scope) { s.payload = payloadFact{rejected: "Secret c-registry-cache: not ours"} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "NodePayloadPublished: Secret c-registry-cache: not ours; until then"},
		},
		"the node payload failed for a reason that may pass": {
			func(s *scope) { s.payload = payloadFact{err: errors.New("12:34:56 timed out")} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{unknown, "ReadyUnknown", "NodePayloadPublished"},
		},
		"the authority is somebody else's": {
			func(s *scope) { s.authority = authorityFact{rejected: "Secret c-registry-cache-ca: not ours"} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "CertificatesValid: Secret c-registry-cache-ca: not ours; caches that run go on"},
		},
		"the authority failed for a reason that may pass": {
			func(s *scope) { s.authority = authorityFact{err: errors.New("12:34:56 timed out")} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{unknown, "ReadyUnknown", "CertificatesValid"},
		},
		"a cache has no certificate": {
			func(s *scope) { s.facts["quay.io"].certificate = nil },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "The cache of quay.io has no certificate"},
		},
		"a cache needs no certificate": {
			func(s *scope) { s.facts["quay.io"].certificate, s.facts["quay.io"].uncertified = nil, true },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{yes, "Ready", ""},
		},
		"a certificate should have been renewed a moment ago": {
			func(s *scope) { s.now = s.now.Add(61 * 24 * time.Hour) },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{yes, "Ready", ""},
		},
		"a certificate should have been renewed days ago": {
			func(s *scope) { s.now = s.now.Add(62 * 24 * time.Hour) },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "The certificate of the cache of docker.io, quay.io should have been renewed"},
		},
		"no cache, and so no authority": {
			func(s *scope) { s.cache.Spec.Caches, s.cache.Status.Caches, s.authority = nil, nil, authorityFact{} },
			expected{yes, "NoCaches", ""}, expected{yes, "NoCaches", ""}, expected{yes, "Ready", ""},
		},
		"a node is not configured": {
			func(s *scope) { s.nodes.configured, s.nodes.troubles = 2, []string{"n3: containers run: drain"} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "2 of 3 nodes are configured"},
		},
		"existing nodes are ignored": {
			func(s *scope) {
				s.cache.Spec.Nodes.Existing, s.nodes = addonsv1.ExistingNodesIgnore, &nodesFact{ignored: true}
			},
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{yes, "Ready", ""},
		},
		"node-sync is rejected": {
			func(s *scope) { s.nodes = &nodesFact{rejected: "DaemonSet registry-cache-node-sync: Forbidden"} },
			expected{yes, "Allocated", ""}, expected{yes, "Available", ""}, expected{no, "NotReady", "DaemonSet registry-cache-node-sync: Forbidden"},
		},
		"the reconcile failed": {
			func(s *scope) { s.err = errors.New("conflict") },
			expected{yes, "Allocated", ""}, expected{unknown, "InternalError", ""}, expected{unknown, "ReadyUnknown", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			tc.change(s)
			setStatus(s)
			for kind, want := range map[string]expected{
				addonsv1.AddressesAllocatedCondition: tc.addresses, addonsv1.CachesAvailableCondition: tc.cache, addonsv1.ReadyCondition: tc.ready,
			} {
				got := conditions.Get(s.cache, kind)
				g.Expect(got).NotTo(BeNil(), kind)
				g.Expect(expected{got.Status, got.Reason, ""}).To(Equal(expected{want.status, want.reason, ""}), kind)
				g.Expect(got.Message).To(ContainSubstring(want.detail), kind)
				g.Expect(got.Message).NotTo(ContainSubstring("12:34:56"), "no variable text")
				g.Expect(got.ObservedGeneration).To(Equal(int64(7)))
			}
			before := s.cache.DeepCopy()
			setStatus(s)
			g.Expect(s.cache).To(Equal(before), "the same facts say the same (I6)")
		})
	}
}

// issued is a certificate of an authority, as it is made at a time.
func issued(ca *authority.Authority, at time.Time) *x509.Certificate {
	certificate, key, _ := ca.Issue(authority.Names{DNS: []string{"cache"}, Address: netip.MustParseAddr("10.96.1.0")}, at)
	leaf, _ := authority.ParsePair(certificate, key)
	return leaf
}

// serving is a scope in which all is well.
func serving() *scope {
	s := &scope{
		cache:   &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", Generation: 7}},
		cluster: &clusterv1.Cluster{},
		target:  &apply.Target{},
		now:     time.Unix(1000, 0),
		payload: payloadFact{published: true},
		facts:   map[string]*cacheFact{},
		nodes:   &nodesFact{total: 3, configured: 3},
		secrets: map[string]*secretsFact{},
	}
	s.authority.ca, _ = authority.New(s.now)
	s.authority.trusted = authority.Bundle{s.authority.ca.Certificate}
	for _, upstream := range []string{"docker.io", "quay.io"} {
		s.cache.Spec.Caches = append(s.cache.Spec.Caches, addonsv1.Cache{Upstream: upstream})
		s.cache.Status.Caches = append(s.cache.Status.Caches, addonsv1.CacheStatus{Upstream: upstream, Endpoint: "http://10.96.1.0:5000"})
		s.facts[upstream] = &cacheFact{applied: true, readyReplicas: 1, certificate: issued(s.authority.ca, s.now), reports: reportsFact{told: []report.Report{{
			Access: report.Access{State: report.AccessUnused}, Volume: report.Volume{State: report.VolumeUsable},
		}}}}
		s.secrets[upstream] = &secretsFact{}
	}
	return s
}
