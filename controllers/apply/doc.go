// Package apply brings objects into a cluster by server-side apply, writes nothing while nothing
// changes (I6), and removes what is no longer wanted.
//
// Usage: one Applier for the life of the manager; Apply for each object of the wanted state; Prune with a
// function that tells what is wanted.
//
// What an Applier applied is remembered by cluster, object, resource version and a hash of the wanted state. As
// long as the object in the cluster has that resource version and the wanted state that hash, no request is
// sent. Any foreign write changes the resource version, so drift is mended. A change of the object's status does
// too and costs one request that changes nothing. The memory is lost on a restart of the manager: each object is then applied once
// more, which the API server answers without a write to its store.
//
// An object that exists and is not marked as ours is neither changed nor removed.
package apply
