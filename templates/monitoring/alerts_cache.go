package monitoring

import (
	"fmt"
	"slices"
	"time"
)

// Series of caches. Those with names of distribution are taken from targets that have an upstream: others may run registries too.
const (
	caches     = `up{upstream!=""}`
	requests   = `registry_proxy_requests_total{upstream!=""}`
	room       = "registry_cache_volume_free_bytes + registry_cache_stored_bytes"
	anUpstream = `upstream!=""`
	breaker    = "registry_cache_upstream_breaker_open"

	// upstreamFaults are the kinds of errors that an upstream is to blame for, or the way to it. A caller that left is of the kind other.
	upstreamFaults = `registry_cache_upstream_errors_total{kind=~"refused|timeout|dns|tls|reset|server_error"}`
)

// cacheAlerts look at caches. One without traffic raises none of them but RegistryCacheDown, and, as it asks its upstream whether credentials
// and a CA are right, those of upstreamAlerts.
func cacheAlerts() []alert { return slices.Concat(answerAlerts(), upstreamAlerts(), volumeAlerts()) }

// answerAlerts are about what nodes get.
func answerAlerts() []alert {
	return []alert{
		{
			name: "RegistryCacheDown", severity: Critical, lasts: 15 * time.Minute,
			// The nodes know best, as they ask for the cache every few seconds. A Pod that does not exist is no target at all.
			expr:    oneOf(awaitedInVain(perCache), unless(sum(perCache, caches)+" == 0", perCache, used)),
			summary: "A registry cache does not answer.",
			description: "The cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} has not answered for 15 minutes. " +
				"Nodes pull from the upstream.",
		},
		{
			name: "RegistryCacheHitRatioCollapsed", severity: Warning, lasts: time.Hour,
			expr: fmt.Sprintf("%s\n< 0.5 *\n(%s)\nand %s > 100",
				hitRatio(perCache, anUpstream, "[1h]"), hitRatio(perCache, anUpstream, "[1d] offset 1h"), sum(perCache, increase(requests, "1h"))),
			summary: "A cache answers far less from its store than it did.",
			description: "{{ $value | humanizePercentage }} of what nodes asked the cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} in the last hour " +
				"came from its store: less than half of the share of the day before.",
		},
	}
}

// upstreamAlerts are about what the upstream gives.
func upstreamAlerts() []alert {
	return []alert{
		{
			name: "RegistryCacheUpstreamFailing", severity: Warning, lasts: 15 * time.Minute,
			// Probes of an open breaker are requests that fail. One that opens and closes again and again raises no RegistryCacheBreakerOpen.
			expr: unless(fmt.Sprintf("%s / %s > 0.1\nand %s > 10",
				sum(perCache, rate(upstreamFaults, "15m")), sum(perCache, rate("registry_cache_upstream_requests_total", "15m")),
				sum(perCache, increase(upstreamFaults, "15m"))), perCache, throughout(breaker, 1, "15m")),
			summary:     "An upstream registry fails.",
			description: "{{ $value | humanizePercentage }} of what the cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} asks its upstream fails.",
		},
		{
			name: "RegistryCacheBreakerOpen", severity: Warning, lasts: 15 * time.Minute,
			expr:    largest(perCache, breaker) + " == 1",
			summary: "An upstream registry is not asked any more.",
			description: "The cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} does not reach its upstream, and has not asked it for 15 minutes. " +
				"It serves what it has.",
		},
		{
			name: "RegistryCacheRateLimited", severity: Warning, lasts: 30 * time.Minute,
			// Between the end of one limit and the next 429 there may be a moment.
			expr:    largest(perCache, "registry_cache_upstream_rate_limited_until_timestamp_seconds") + " > time() - 15 * 60",
			summary: "An upstream registry limits how much is asked.",
			description: "The upstream {{ $labels.upstream }} has answered the cache in namespace {{ $labels.namespace }} with 429 for 30 minutes. " +
				"What is not stored is pulled past the cache.",
		},
		{
			name: "RegistryCacheCredentialsRejected", severity: Warning, lasts: 15 * time.Minute,
			expr:        sum(perCache, happened("registry_cache_upstream_credentials_rejected_total", 15*time.Minute)) + " > 0",
			summary:     "An upstream registry refuses the credentials of a cache.",
			description: "The upstream {{ $labels.upstream }} refuses the credentials of the cache in namespace {{ $labels.namespace }}. Only public images go through it.",
		},
		{
			name: "RegistryCacheWrongBytes", severity: Warning,
			expr: sum(perCache, happened(`registry_cache_upstream_errors_total{kind="digest"}`, time.Hour)+
				" or "+happened(`registry_cache_evicted_blobs_total{reason="corrupt"}`, time.Hour)) + " > 0",
			summary:     "A cache met bytes that are not what their digest says.",
			description: "The upstream, or the disk, gave the cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} wrong bytes. They were not served.",
		},
	}
}
