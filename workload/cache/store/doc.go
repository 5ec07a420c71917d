// Package store keeps blobs on a file system, in the layout of distribution, so that a stock registry can be started on what
// it left behind, and the reverse.
//
// Open reads what is there into an index in memory; every question is answered from the index. Create and Put store a blob,
// Open returns one, LinkLayer, LinkManifest and Tag make it part of a repository. Run keeps the store within its limits until
// its context ends.
//
// There is no state of its own on disk. The life of a blob counts from the modification time of its file, the order of
// eviction is in the access times, which the store sets itself: both survive the process, however it ends, and a changed TTL
// applies to what is there.
//
// A blob that this process did not write is hashed before it is served for the first time, and again when its file
// changed. That finds what a crash, a full or failing disk, or another program left, so nothing is synced on the way in.
//
// Removing a blob removes everything that refers to it: links of layers and manifests in all repositories, and tags.
package store
