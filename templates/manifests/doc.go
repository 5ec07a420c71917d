// Package manifests builds the objects of a cache in the workload cluster: values in, typed objects out.
//
// Objects returns what one cache consists of, ready for server-side apply; Selector finds what was applied. Nothing
// here reads a cluster, so the same values always give the same objects, and an unchanged spec writes nothing.
//
// The configuration lives in a Secret of a stable name, and the Pod template carries its hash: a change of the
// configuration replaces the Pod once, and nothing else does. A name made of the hash would do the same, but leaves a
// Secret behind with each change, which something has to find and remove while an old Pod may still need it. With a
// stable name the worst case is a Pod that restarts a moment early with the configuration that it was to get anyway.
//
// Fields that the API server fills with the value that a cache needs are left out; others are set once, in the form
// in which the API server gives them back.
//
// The Pods have the priority system-cluster-critical, as the nodes of the cluster pull through them. Kubernetes
// admits that class in every namespace; a cluster that limits it by quota to kube-system (as some providers do) needs
// the caches there, which is the default.
package manifests
