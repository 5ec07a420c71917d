// Package counters says what caches served and what they fetched for it. Caches count since their processes started, so a past time
// needs somebody who looked at that time: Prometheus. Without it there are the counters as they are, and the difference of two looks.
//
// What is saved is what nodes were given, less what the caches fetched from their upstreams: bytes of blobs and manifests as they are, without
// headers and TLS. It is below zero for a cache that fetched more than it was asked for, as when a node broke off.
package counters
