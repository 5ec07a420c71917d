// Package webhooks lets new Machines know the caches of their Cluster: it adds the node payload to bootstrap data
// Secrets at the moment they are written.
//
// # Why the Secret, and why at admission
//
// Nothing in Cluster API compares the content of a bootstrap data Secret, so changing it rolls no Machine, and
// Machine.spec.bootstrap.dataSecretName is set only after the Secret exists, so no Machine can boot from data that
// this package has not seen. A controller would race with the Machine; changing the bootstrap config would roll
// control planes.
//
// # What reaches the handler
//
// config/webhook/manifests.yaml decides that with an object selector and match conditions: Secrets of a Cluster, owned
// by a bootstrap config of any provider, on creation and when the data itself changes. No other Secret is ever sent.
//
// # What it does not do
//
// It never denies. Whatever goes wrong (no RegistryCache, no address yet, data that is not understood or would become too
// large, an error), the Secret is stored as it came: a cache must never stop a Machine from booting. What is passed through is
// counted in capi_registry_cache_injections_total and told in an Event of the RegistryCache. User data is never logged.
//
// It leaves data alone whose bootstrap config opted out, see docs/bootstrap-data.md.
//
// It leaves the data of a paused Cluster alone: nobody makes any then but clusterctl, which moves what is there.
//
// A paused RegistryCache still takes part: pausing stops changes to the caches, which keep running at the addresses in
// the status, so a Machine that is created meanwhile should use them. One that is being deleted does not.
package webhooks
