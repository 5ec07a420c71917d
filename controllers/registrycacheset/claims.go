package registrycacheset

import (
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/origin"
)

// claims decides for every Cluster that the selector matches, in the order of their names. Those that are being deleted are left alone,
// and so are those of other managers.
func claims(s *scope) []*claim {
	claims := []*claim{}
	for _, name := range slices.Sorted(maps.Keys(s.clusters)) {
		cluster := s.clusters[name]
		if cluster.DeletionTimestamp.IsZero() && heeded(cluster, s.watched) && s.selector.Matches(labels.Set(cluster.Labels)) {
			claims = append(claims, decide(s, cluster))
		}
	}
	return claims
}

// decide says whether the RegistryCache of a Cluster is this set's to make or to change: hand-written ones come first, then the variable
// of the Cluster's topology, then the older of two sets.
func decide(s *scope, cluster *clusterv1.Cluster) *claim {
	c := &claim{cluster: cluster, cache: s.caches[cluster.Name], outcome: addonsv1.OverruledReason}
	handWritten := c.cache != nil && origin.Of(c.cache) == origin.HandWritten
	older := s.older(cluster)
	switch {
	case handWritten && c.cache.DeletionTimestamp.IsZero():
		c.why = "its RegistryCache is hand-written: it has no controller reference to a set or Cluster"
	case hasVariable(cluster):
		c.why = fmt.Sprintf("its topology has the variable %s", addonsv1.ClusterVariable)
	case older != "":
		c.why = fmt.Sprintf("RegistryCacheSet %s matches it and is older", older)
	default:
		c.outcome, c.why = s.mayChange(cluster, c.cache)
	}
	return c
}

// mayChange is about a Cluster that nobody comes before the set for: whether something has to end before it gets what the set wants.
func (s *scope) mayChange(cluster *clusterv1.Cluster, cache *addonsv1.RegistryCache) (outcome, why string) {
	switch {
	case cache != nil && !cache.DeletionTimestamp.IsZero():
		return addonsv1.WaitingReason, "its former RegistryCache is being removed"
	case cache != nil && !s.mayTake(cluster, cache):
		return addonsv1.WaitingReason, fmt.Sprintf("its RegistryCache is still kept by %s %s", metav1.GetControllerOf(cache).Kind, metav1.GetControllerOf(cache).Name)
	case isPaused(cluster) && (cache == nil || !same(cache, s.desired(cluster, cache))):
		return addonsv1.WaitingReason, "the Cluster is paused"
	default:
		return addonsv1.AppliedReason, ""
	}
}

// mayTake says whether a RegistryCache is this set's, or that of a younger one which matches the Cluster too.
func (s *scope) mayTake(cluster *clusterv1.Cluster, cache *addonsv1.RegistryCache) bool {
	if metav1.IsControlledBy(cache, s.set) {
		return true
	}
	return slices.ContainsFunc(s.others, func(other addonsv1.RegistryCacheSet) bool {
		return metav1.IsControlledBy(cache, &other) && matches(&other, cluster)
	})
}

// older returns the name of another set that matches the Cluster and is older than this one, "" if there is none. Sets of one age are in
// the order of their names.
func (s *scope) older(cluster *clusterv1.Cluster) string {
	for i := range s.others {
		other := &s.others[i]
		if !matches(other, cluster) {
			continue
		}
		if order := since(other).Compare(since(s.set)); order < 0 || order == 0 && other.Name < s.set.Name {
			return other.Name
		}
	}
	return ""
}

// matches says whether a set that is not going away wants a Cluster.
func matches(set *addonsv1.RegistryCacheSet, cluster *clusterv1.Cluster) bool {
	selector, err := metav1.LabelSelectorAsSelector(&set.Spec.ClusterSelector)
	return err == nil && set.DeletionTimestamp.IsZero() && selector.Matches(labels.Set(cluster.Labels))
}

// since is when a set began to exist, in whatever management cluster.
func since(set *addonsv1.RegistryCacheSet) time.Time {
	if noted, err := time.Parse(time.RFC3339, set.Annotations[addonsv1.SetSinceAnnotation]); err == nil {
		return noted.UTC()
	}
	return set.CreationTimestamp.UTC()
}

// heeded says whether a manager that looks at objects with this value of CAPI's watch label only is to look at this one.
func heeded(obj client.Object, watched string) bool {
	return watched == "" || obj.GetLabels()[clusterv1.WatchLabel] == watched
}

func hasVariable(cluster *clusterv1.Cluster) bool {
	return slices.ContainsFunc(cluster.Spec.Topology.Variables, func(v clusterv1.ClusterVariable) bool { return v.Name == addonsv1.ClusterVariable })
}

func isPaused(cluster *clusterv1.Cluster) bool { return annotations.IsPaused(cluster, cluster) }
