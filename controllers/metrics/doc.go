// Package metrics is what the manager tells Prometheus, besides what the webhook counts (controllers/webhooks) and what controller-runtime
// does: docs/metrics.md.
//
//	metrics.Register(&metrics.Collector{Reader: mgr.GetClient(), Elected: mgr.Elected(), Expiry: …})
//	done := metrics.Phase("findCluster")
//	done(failed)
//
// What RegistryCaches have in their status is read when Prometheus asks, from the cache of the manager: nothing is asked of the API server,
// nothing has to be kept in step, and a RegistryCache that is gone has no series. Only the manager that reconciles tells of it, so that two of
// them do not count everything twice.
package metrics
