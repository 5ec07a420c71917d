package monitoring

import (
	"fmt"
	"time"
)

// kubelet's series of volumes, for caches of a stock image: those have no metrics of their own about their store.
const (
	kubeletFree     = `kubelet_volume_stats_available_bytes{persistentvolumeclaim=~"store-registry-.+"}`
	kubeletCapacity = `kubelet_volume_stats_capacity_bytes{persistentvolumeclaim=~"store-registry-.+"}`
)

// volumeAlerts look at volumes, each of which belongs to one Pod.
//
// Our cache evicts what was used longest ago, so a volume that is nearly full, or fills, is as it should be. What counts is the room that
// is left to the store, taken or free: it stays the same while the store fills, and shrinks when something else fills the volume.
func volumeAlerts() []alert {
	const inFourDays = "4 * 24 * 60 * 60"
	return []alert{
		{
			name: "RegistryCacheVolumeCritical", severity: Critical, lasts: 15 * time.Minute,
			expr: oneOf(
				largest(perPod, "registry_cache_volume_full")+" == 1",
				ofStockCaches(kubeletFree+" / "+kubeletCapacity+" < 0.05"),
			),
			summary: "The volume of a cache is full.",
			description: "There is no room for what is pulled on the volume of {{ $labels.pod }} in namespace {{ $labels.namespace }}, the cache of {{ $labels.upstream }}. " +
				"It serves what it has, and passes on the rest without storing it.",
		},
		{
			name: "RegistryCacheVolumeFullInFourDays", severity: Warning, lasts: time.Hour,
			expr: oneOf(
				largest(perPod, fmt.Sprintf(
					"predict_linear(registry_cache_volume_free_bytes[6h], %s) + predict_linear(registry_cache_stored_bytes[6h], %s) <= 0\n"+
						"and %s < 0.5 * registry_cache_capacity_bytes", inFourDays, inFourDays, room)),
				ofStockCaches(fmt.Sprintf("predict_linear(%s[6h], %s) <= 0\nand %s / %s < 0.5", kubeletFree, inFourDays, kubeletFree, kubeletCapacity)),
			),
			summary: "The volume of a cache will be full in four days.",
			description: "As it went in the last six hours, the volume of {{ $labels.pod }} in namespace {{ $labels.namespace }}, the cache of {{ $labels.upstream }}, " +
				"has no room for its store within four days.",
		},
		{
			name: "RegistryCacheVolumeTooSmall", severity: Info, lasts: time.Hour,
			expr: fmt.Sprintf("%s\n> %s",
				sum(perPod, increase(`registry_cache_evicted_bytes_total{reason="space"}`, "1d")), largest(perPod, "registry_cache_capacity_bytes")),
			summary: "The volume of a cache is too small for what is pulled.",
			description: "{{ $labels.pod }} in namespace {{ $labels.namespace }}, the cache of {{ $labels.upstream }}, evicted {{ $value | humanize1024 }}B in a day, " +
				"more than its volume holds.",
		},
	}
}

// ofStockCaches takes an expression about the claims of caches, and returns it by Pod and upstream, for Pods that have no metrics of our
// cache. The Pod is in the name of the claim, the upstream is a label of the target.
func ofStockCaches(expression string) string {
	return fmt.Sprintf(`max by (cluster, namespace, pod) (label_replace(%s, "pod", "$1", "persistentvolumeclaim", "store-(.+)"))`+
		"\n* on (cluster, namespace, pod) group_left (upstream) group by (%s) (%s)"+
		"\nunless on (cluster, namespace, pod) registry_cache_capacity_bytes", expression, perPod, caches)
}
