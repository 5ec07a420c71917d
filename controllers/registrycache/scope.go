package registrycache

import (
	"crypto/x509"
	"net/netip"
	"time"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/patch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// scope is one reconcile: what it is about, and the facts that phases find.
type scope struct {
	cache  *addonsv1.RegistryCache
	helper *patch.Helper
	// now is when the reconcile began.
	now time.Time

	// cluster is nil if there is no Cluster of this name.
	cluster *clusterv1.Cluster
	// target is the workload cluster; nil: not connected.
	target *apply.Target

	// authority signs for the caches.
	authority authorityFact
	// allocated: the status has what is known of addresses, from the annotation as well.
	allocated bool
	// addressing is why caches have no address, if some have none.
	addressing addressFact
	// taken are addresses that the API server refused in this reconcile.
	taken map[netip.Addr]bool
	// facts has an entry for each cache of the spec, by upstream, once the workload cluster is connected.
	facts map[string]*cacheFact
	// mirrors is what is known of the certificates of mirrors; nil: nobody looked.
	mirrors *mirrorsFact
	// secrets has an entry for each cache of the spec, by upstream, once the Secrets that they name were read.
	secrets map[string]*secretsFact
	// unmarked: a Secret could not be labelled, so no watch tells when it changes.
	unmarked bool
	// copied: a copy of a Secret in the workload cluster changed.
	copied bool
	// payload is what became of the Secret with the node payload.
	payload payloadFact
	// nodes is what is known of nodes that exist already; nil: nobody looked.
	nodes *nodesFact
	// forgotten: no node that is waited for uses what it is no longer told of.
	forgotten bool
	// err is the unexpected error that ended the reconcile, if one did.
	err error
	// done: no later phase has anything to do.
	done bool
}

// addressFact is a reason of the condition AddressesAllocated and its message.
type addressFact struct {
	reason, message string
}

// payloadFact is what is known of the Secret with the node payload.
type payloadFact struct {
	// published: the Secret is as it should be.
	published bool
	// rejected says why the Secret cannot be written; the user has to mend it.
	rejected string
	// err is any other failure; it is tried again.
	err error
}

// cacheFact is what is known of a cache in the workload cluster.
type cacheFact struct {
	// instance is the name of its Service, and the value of the instance label of its objects.
	instance string
	// objects are those that are wanted, by objectKey.
	objects map[string]bool
	// rejected says which object the API server does not accept, and why; the user has to mend it.
	rejected string
	// err is any other failure; it is tried again.
	err error
	// certificate is that of the cache, nil if it has none; uncertified: it needs none.
	certificate *x509.Certificate
	uncertified bool
	// applied: every object is as it should be.
	applied bool
	// readyReplicas is how many replicas serve.
	readyReplicas int32
	// volume is what is known of its claims, reports what its Pods tell.
	volume  volumeFact
	reports reportsFact
	// usage is what is known of its use.
	usage usageFact
}

// clusterKey names the workload cluster, which is also the name of the RegistryCache.
func (s *scope) clusterKey() client.ObjectKey {
	return client.ObjectKeyFromObject(s.cache)
}

// status returns the status entry of an upstream, nil if there is none.
func (s *scope) status(upstream string) *addonsv1.CacheStatus {
	for i := range s.cache.Status.Caches {
		if s.cache.Status.Caches[i].Upstream == upstream {
			return &s.cache.Status.Caches[i]
		}
	}
	return nil
}

// deleting says whether the RegistryCache is going away.
func (s *scope) deleting() bool { return !s.cache.DeletionTimestamp.IsZero() }

// clusterGoing says whether the Cluster is gone or going, and its caches with it.
func (s *scope) clusterGoing() bool {
	return s.cluster == nil || !s.cluster.DeletionTimestamp.IsZero()
}

// errors are the failures that kept nothing else from being done, and that are tried again.
func (s *scope) errors() []error {
	var errs []error
	if s.authority.err != nil {
		errs = append(errs, s.authority.err)
	}
	if s.mirrors != nil && s.mirrors.err != nil {
		errs = append(errs, s.mirrors.err)
	}
	if s.payload.err != nil {
		errs = append(errs, s.payload.err)
	}
	for _, cache := range s.cache.Spec.Caches {
		if fact := s.facts[cache.Upstream]; fact != nil && fact.err != nil {
			errs = append(errs, fact.err)
		}
		if fact := s.secrets[cache.Upstream]; fact != nil && fact.err != nil {
			errs = append(errs, fact.err)
		}
	}
	return errs
}
