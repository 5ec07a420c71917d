package main

const head = `# Metrics

<!-- Written by make generate from the metrics that are registered; do not edit. -->

Names that begin with ` + "`capi_registry_cache_`, `registry_cache_` and `registry_proxy_`" + ` are ours and are all here; how they are scraped is in [Monitoring](monitoring.md), which
also tells of the labels that targets have: ` + "`namespace`, `pod`, `node`" + `, and of caches ` + "`upstream`" + `. *series* tells when there are any, if not from the start: counters are there
with 0 before they count. *at most* is how many series there can be: of a process, or of a RegistryCache where the labels ` + "`namespace` and `name`" + ` say which.
`

const cacheText = `Served by each cache at port 5001. ` + "`registry_proxy_*`" + ` keep the names, labels and meaning that they have in a stock registry in proxy mode, so that dashboards and alerts for
it work unchanged; a cache whose image the spec names may have these alone. No label takes a value from a request. The hit ratio is (hits + coalesced) / requests.

Stock metrics that are kept as they are: ` + "`registry_http_*`" + ` (requests by handler, method and code, their duration and size), ` + "`registry_storage_*`" + ` of distribution, ` + "`go_*`, `process_*`, `promhttp_*`" + `.`

const nodeSyncText = `Served by the Pod of each node at port 5002: what the node's unit says, [Nodes](nodes.md) tells of its states. A withdrawal is seen by a look every five to ten seconds; one that
is shorter is missed. There are no stock metrics.`

const managerText = `Served at ` + "`--diagnostics-address`" + `, to those who may. With several managers, the one that reconciles tells of RegistryCaches; it reads them from its memory when it is
asked. One that is deleted has no series.

Stock metrics that are kept as they are: ` + "`controller_runtime_*`, `workqueue_*`, `rest_client_*`, `leader_election_*`, `certwatcher_*`" + ` of controller-runtime, ` +
	"`capi_cluster_cache_*`" + ` of Cluster API (whether workload clusters are connected), ` + "`go_*`, `process_*`" + `.`

const tail = `## How many series

One replica of a cache has at most %d series of ours, a node %d, a RegistryCache %d in the manager, which has %d besides. For 2,000 clusters that each have 32 caches and 50 nodes:

| | series of ours at most |
|---|---|
| Prometheus of a workload cluster: its caches | %s |
| its nodes | %s |
| together | %s |
| a Prometheus for all workload clusters | %s |
| a Prometheus for the manager | %s |

These are limits that no fleet gets near: a cache has a histogram for each way to answer, and a node as many upstreams as the API takes. A cluster with four caches and no mirrors
has an eighth of the first line, and a sixteenth of the second.
`
