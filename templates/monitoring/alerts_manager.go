package monitoring

import (
	"fmt"
	"time"
)

// What the manager tells of RegistryCaches is what it has seen last. paused are those that it does not look at; notLookedAt are reasons of
// conditions of those whose Cluster it does not look at.
const (
	paused      = `capi_registry_cache_condition{type="Paused",status="True"}`
	notLookedAt = "Deleting|ClusterDeleting|ClusterNotFound|ClusterNotConnected"
)

// Conditions that are False and have no alert of their own.
const (
	// wrong leaves out Ready, which sums them up, and Paused, which is False when all is well. A hand-written RegistryCache beside the variable
	// of its Cluster is a choice (docs/clusterclass.md).
	wrong = `capi_registry_cache_condition{type!~"Ready|Paused|CachesAvailable|CacheInUse",status="False",` +
		`reason!~"NotConfigured|HandWritten|Deleting|ClusterDeleting|ClusterNotFound"}`
	// ending is what nearly all conditions say at once; this one tells which nodes a removal waits for. A Cluster may take hours to go.
	ending = `capi_registry_cache_condition{type="NodesConfigured",status="False",reason=~"Deleting|ClusterNotFound"}`
)

// unpaused is an expression about RegistryCaches without those that are paused.
func unpaused(expression string) string { return unless(expression, perSet, paused) }

// observed is unpaused without those whose Cluster is not looked at, as a condition of them tells.
func observed(expression, condition string) string {
	return unless(unpaused(expression), perSet, fmt.Sprintf("capi_registry_cache_condition{type=%q,reason=~%q}", condition, notLookedAt))
}

// managerAlerts look at what the manager tells. Standbys may tell the same as the leader, so values are not summed over Pods.
func managerAlerts() []alert {
	return append(clusterAlerts(), alert{
		name: "RegistryCacheInjectionsFailing", severity: Warning,
		expr:    sum("cluster, format, result", happened(`capi_registry_cache_injections_total{result=~"error|passed_through"}`, time.Hour)) + " > 0",
		summary: "Machines boot without their caches.",
		description: "Bootstrap data of the format {{ $labels.format }} was written without registry caches in the last hour ({{ $labels.result }}). " +
			"An Event of the RegistryCache says why.",
	}, alert{
		name: "RegistryCacheManagerDown", severity: Warning, lasts: 15 * time.Minute,
		// Not absent(): that would fire in a Prometheus that never had a manager to look at. Several managers, each for its own RegistryCaches,
		// are in several namespaces.
		expr: fmt.Sprintf("group by (cluster, namespace) (last_over_time(%[1]s[1d]))\nunless\ngroup by (cluster, namespace) (%[1]s)",
			`controller_runtime_active_workers{controller="registrycache"}`),
		summary:     "The manager of registry caches does not run.",
		description: "No manager in namespace {{ $labels.namespace }} has answered for 15 minutes. Caches and nodes go on as they are; Machines that are created meanwhile boot without caches.",
	})
}

// clusterAlerts are about one RegistryCache each.
func clusterAlerts() []alert {
	const which = "RegistryCache {{ $labels.namespace }}/{{ $labels.name }}"
	return []alert{
		{
			name: "RegistryCacheUnavailable", severity: Critical, lasts: 15 * time.Minute,
			// Without a node no cache can run, and nobody pulls: workers may come later, and go for a night.
			expr: unless(observed(largest(perSet, `capi_registry_cache_condition{type="CachesAvailable",status="False"}`)+" == 1", "CachesAvailable"),
				perSet, "capi_registry_cache_nodes == 0"),
			summary:     "A Cluster has a registry cache without a ready replica.",
			description: which + " has had a cache without a ready replica for 15 minutes. Nodes of that Cluster pull from the upstream.",
		},
		{
			name: "RegistryCacheConditionFalse", severity: Warning, lasts: time.Hour,
			expr:        unpaused(largest(perSet+", type", wrong+" or "+ending) + " == 1"),
			summary:     "A RegistryCache is not as it should be.",
			description: "The condition {{ $labels.type }} of " + which + " has been False for an hour. Its message says why.",
		},
		{
			name: "RegistryCacheReconcileFailing", severity: Warning, lasts: 30 * time.Minute,
			// Not what phases count: what fails for good is tried every quarter of an hour, and in a large fleet something always fails once.
			expr:        unpaused(largest(perSet, `capi_registry_cache_condition{status="Unknown",reason="InternalError"}`) + " == 1"),
			summary:     "The manager fails at a RegistryCache.",
			description: "Reconciling " + which + " has failed for 30 minutes. The manager's log says why.",
		},
		{
			name: "RegistryCacheNodesNotConfigured", severity: Warning, lasts: time.Hour,
			// In a large Cluster there is always one that comes, goes or is broken.
			expr: observed(fmt.Sprintf("%[1]s\n- %[2]s\n> 0.01 * %[1]s",
				largest(perSet, "capi_registry_cache_nodes"), largest(perSet, "capi_registry_cache_nodes_configured")), "NodesConfigured"),
			summary:     "Nodes of a Cluster do not do what its RegistryCache says.",
			description: "Nodes of " + which + " that have not been configured for an hour: {{ $value }}. The condition NodesConfigured names them.",
		},
		{
			name: "RegistryCacheNotUsed", severity: Warning, lasts: time.Hour,
			// Not NodesConfigured: with spec.nodes.existing Ignore that does not tell whether the Cluster is looked at.
			expr:        observed(largest(perSetItem, "capi_registry_cache_in_use")+" == 0", "CacheInUse"),
			summary:     "Every pull goes past a registry cache.",
			description: "Nodes pull past the cache of {{ $labels.upstream }} of " + which + ". The condition CacheInUse has the likely reason.",
		},
		{
			name: "RegistryCacheCertificateExpiring", severity: Warning, lasts: time.Hour,
			// It is replaced when 30 days are left (docs/tls.md).
			expr:    "min by (" + perSetItem + ") (capi_registry_cache_certificate_expiry_timestamp_seconds) - time() < 21 * 24 * 60 * 60",
			summary: "The certificate of a cache is near its end.",
			description: "The certificate of the cache of {{ $labels.upstream }} of " + which + " ends in {{ $value | humanizeDuration }}, and should have been replaced. " +
				"After that nodes pull from the upstream.",
		},
		{
			name: "RegistryCacheAuthorityExpiring", severity: Warning, lasts: time.Hour,
			// It gets a successor when a year is left, which nodes may need a month to learn of.
			expr:        "min by (" + perSet + ") (capi_registry_cache_authority_expiry_timestamp_seconds) - time() < 300 * 24 * 60 * 60",
			summary:     "The certificate authority of a Cluster's caches is near its end.",
			description: "The authority of " + which + " ends in {{ $value | humanizeDuration }}, and should have been replaced.",
		},
	}
}
