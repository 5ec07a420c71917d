// Package cache is the pull-through cache of one upstream registry: distribution (CNCF) as a library, with the same
// configuration file, the same REGISTRY_ variables and the same store layout as its own image, so that either may be
// started on what the other left behind.
//
// Load reads and checks a configuration; Run serves it until its context ends, then lets open transfers finish and
// writes down when each blob expires.
//
// Pulls are answered by the packages next to this one, which take the place of distribution's registry/proxy: pull decides,
// store keeps, upstream asks. Distribution answers everything else. Why is in
// docs/decisions/0005-our-own-pull-path-on-distributions-store.md.
//
// The server around the handler is assembled here instead of taken from distribution's package registry. That one
// ends only by a signal to the process, keeps its debug server private, and traces every request to a collector on
// localhost unless told otherwise. The parts in between are what a cache needs and a registry does not.
//
// What a stock registry accepts and this cache does not is refused at the start, with the field's name: storage
// drivers other than filesystem, auth, http.prefix, http.tls.{letsencrypt,clientcas,clientauth,ciphersuites}. storage.cache is
// ignored: it is for descriptors of blobs, which are all in memory here. So are storage.delete and log.accesslog: expired blobs
// are always removed, and the log has one line for each request.
//
// Distribution registers metrics and health checks in globals of the process, so Run serves one cache for each
// process.
package cache
