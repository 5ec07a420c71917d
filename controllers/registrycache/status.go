package registrycache

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// setStatus turns the facts on the scope into conditions. It asks nobody, and messages say the same as long as the
// facts are the same.
func setStatus(s *scope) {
	s.cache.Status.Summary = summary(s.cache)
	for kind, condition := range map[string]metav1.Condition{
		addonsv1.AddressesAllocatedCondition:   addressesAllocated(s),
		addonsv1.CertificatesValidCondition:    unlessEnding(s, certificatesValid),
		addonsv1.CachesAvailableCondition:      unlessEnding(s, cachesAvailable),
		addonsv1.MirrorsValidCondition:         unlessEnding(s, mirrorsValid),
		addonsv1.NodePayloadPublishedCondition: unlessEnding(s, nodePayloadPublished),
		addonsv1.NodesConfiguredCondition:      nodesConfigured(s),
		addonsv1.CredentialsValidCondition:     unlessEnding(s, credentialsValid),
		addonsv1.VolumesHealthyCondition:       unlessEnding(s, volumesHealthy),
		addonsv1.CacheInUseCondition:           unlessEnding(s, cacheInUse),
	} {
		condition.Type = kind
		conditions.Set(s.cache, condition)
	}
	// It fails only if no condition types are given.
	_ = conditions.SetSummaryCondition(s.cache, s.cache, addonsv1.ReadyCondition,
		conditions.ForConditionTypes{addonsv1.AddressesAllocatedCondition, addonsv1.CertificatesValidCondition, addonsv1.CachesAvailableCondition,
			addonsv1.MirrorsValidCondition, addonsv1.NodePayloadPublishedCondition, addonsv1.NodesConfiguredCondition,
			addonsv1.CredentialsValidCondition, addonsv1.VolumesHealthyCondition, addonsv1.CacheInUseCondition},
		conditions.CustomMergeStrategy{MergeStrategy: conditions.DefaultMergeStrategy(conditions.GetPriorityFunc(priority), conditions.ComputeReasonFunc(
			conditions.GetDefaultComputeMergeReasonFunc(clusterv1.NotReadyReason, clusterv1.ReadyUnknownReason, clusterv1.ReadyReason),
		))},
	)
}

// unlessEnding is a condition of what ends with the RegistryCache or with its Cluster.
func unlessEnding(s *scope, of func(*scope) metav1.Condition) metav1.Condition {
	switch {
	case s.deleting():
		return isFalse(addonsv1.DeletingReason, "The RegistryCache is being deleted")
	case s.cluster == nil:
		return clusterNotFound(s)
	case s.clusterGoing():
		return isFalse(addonsv1.ClusterDeletingReason, "The Cluster is being deleted; its caches go with it")
	default:
		return of(s)
	}
}

// addressesAllocated stays true to the end: addresses are kept for as long as there are caches.
func addressesAllocated(s *scope) metav1.Condition {
	missing := withoutAddress(s)
	switch {
	case s.cluster == nil && !s.deleting():
		return clusterNotFound(s)
	case len(s.cache.Spec.Caches) == 0:
		return isTrue(addonsv1.NoCachesReason)
	case len(missing) == 0:
		return isTrue(addonsv1.AddressesAllocatedReason)
	case s.deleting():
		return isFalse(addonsv1.DeletingReason, "The RegistryCache is being deleted")
	case s.clusterGoing():
		return isFalse(addonsv1.ClusterDeletingReason, "The Cluster is being deleted")
	case s.addressing.reason != "":
		return isFalse(s.addressing.reason, s.addressing.message)
	default:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	}
}

func cachesAvailable(s *scope) metav1.Condition {
	switch {
	case len(s.cache.Spec.Caches) == 0:
		return isTrue(addonsv1.NoCachesReason)
	case s.err != nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	case s.target == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; what runs there goes on as it is")
	default:
		return available(s)
	}
}

// available looks at the caches one by one. A rejected object comes first, because only the user can mend it.
func available(s *scope) metav1.Condition {
	var rejected, failed, waiting []string
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		switch {
		case fact == nil || fact.err != nil:
			failed = append(failed, cache.Upstream)
		case fact.rejected != "":
			rejected = append(rejected, fmt.Sprintf("cache of %s: %s", cache.Upstream, fact.rejected))
		case !fact.applied || fact.readyReplicas == 0:
			waiting = append(waiting, cache.Upstream)
		}
	}
	switch {
	case len(rejected) > 0:
		return isFalse(addonsv1.ApplyFailedReason, strings.Join(rejected, "\n"))
	case len(failed) > 0:
		return isUnknown(addonsv1.InternalErrorReason, fmt.Sprintf("Applying the cache of %s failed; please check the log of the manager", strings.Join(failed, ", ")))
	case len(waiting) > 0:
		return isFalse(addonsv1.CachesNotAvailableReason, fmt.Sprintf("The cache of %s has no ready replica", strings.Join(waiting, ", ")))
	default:
		return isTrue(addonsv1.CachesAvailableReason)
	}
}

func nodePayloadPublished(s *scope) metav1.Condition {
	switch {
	case s.payload.rejected != "":
		return isFalse(addonsv1.NodePayloadRejectedReason, s.payload.rejected+"; until then bootstrap templates cannot take the caches from files[].contentFrom.secret")
	case s.payload.published:
		return isTrue(addonsv1.NodePayloadPublishedReason)
	default:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	}
}

// nodesConfigured looks at the nodes that exist already; new Machines boot with what they need.
func nodesConfigured(s *scope) metav1.Condition {
	switch {
	case s.deleting():
		return isFalse(addonsv1.DeletingReason, "The RegistryCache is being deleted"+waitingFor(s))
	case s.cluster == nil:
		return clusterNotFound(s)
	case s.clusterGoing():
		return isFalse(addonsv1.ClusterDeletingReason, "The Cluster is being deleted")
	case s.cache.Spec.Nodes.Existing == addonsv1.ExistingNodesIgnore:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.ExistingNodesIgnoredReason,
			Message: "spec.nodes.existing is Ignore: only Machines that boot from now on get changes, and nothing is removed from nodes; they withdraw a cache that stops answering"}
	case s.target == nil && s.err == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; its nodes go on as they are")
	case s.nodes == nil || s.err != nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	case s.nodes.rejected != "":
		return isFalse(addonsv1.ApplyFailedReason, s.nodes.rejected)
	case s.nodes.configured < s.nodes.total:
		return isFalse(addonsv1.NodesNotConfiguredReason, fmt.Sprintf("%d of %d nodes are configured\n%s", s.nodes.configured, s.nodes.total, strings.Join(s.nodes.troubles, "\n")))
	default:
		return isTrue(addonsv1.NodesConfiguredReason)
	}
}

// waitingFor names the nodes that a removal waits for.
func waitingFor(s *scope) string {
	if s.nodes == nil || len(s.nodes.pending) == 0 {
		return ""
	}
	return "; waiting for nodes to forget it: " + named(s.nodes.pending)
}

// withoutAddress are the upstreams of the spec whose cache has no address.
func withoutAddress(s *scope) []string {
	var missing []string
	for _, cache := range s.cache.Spec.Caches {
		if entry := s.status(cache.Upstream); entry == nil || entry.Endpoint == "" {
			missing = append(missing, cache.Upstream)
		}
	}
	return missing
}

func clusterNotFound(s *scope) metav1.Condition {
	return isFalse(addonsv1.ClusterNotFoundReason, fmt.Sprintf("There is no Cluster %s in namespace %s; a RegistryCache has the name and namespace of its Cluster", s.cache.Name, s.cache.Namespace))
}

func isTrue(reason string) metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionTrue, Reason: reason}
}

func isFalse(reason, message string) metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

func isUnknown(reason, message string) metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}
