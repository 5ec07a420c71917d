package registrycacheset

import (
	"time"

	"k8s.io/apimachinery/pkg/labels"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// scope is one reconcile: what it is about, and the facts that phases find.
type scope struct {
	set *addonsv1.RegistryCacheSet
	// watched is the value of CAPI's watch label that Clusters have to have; "": they need none.
	watched string
	// now is when the reconcile began.
	now time.Time

	// clusters, caches and others are what there is in the namespace: Clusters and RegistryCaches by name, and the other sets
	// of this manager.
	clusters map[string]*clusterv1.Cluster
	caches   map[string]*addonsv1.RegistryCache
	others   []addonsv1.RegistryCacheSet

	// selector is that of the set; nil: it cannot be read, and invalid says why.
	selector labels.Selector
	invalid  string

	// claims has an entry for each Cluster that the selector matches, by name; nil: nobody looked.
	claims []*claim
	// leaving are Clusters, not matched, whose RegistryCache of this set is not gone, and why.
	leaving []verdict

	// err is the unexpected error that ended the reconcile, if one did.
	err error
	// done: no later phase has anything to do.
	done bool
}

// claim is one Cluster that the set matches, and what became of it.
type claim struct {
	cluster *clusterv1.Cluster
	// cache is the RegistryCache that the Cluster has, nil if it has none.
	cache *addonsv1.RegistryCache
	// outcome is a reason of the condition Applied, and why says it for this Cluster.
	outcome, why string
}

// verdict is a Cluster, by name, and why it is not as the set would have it.
type verdict struct {
	cluster, why string
}

// deleting says whether the set is going away.
func (s *scope) deleting() bool { return !s.set.DeletionTimestamp.IsZero() }
