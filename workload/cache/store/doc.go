// Package store keeps blobs, manifests and tags on a file system, in the layout of distribution, so that a stock registry
// can be started on what it left behind, and the reverse.
//
// Open reads what is there into an index in memory, from which every question is answered. Create or Put store a blob,
// Store.Open returns one, LinkLayer, LinkManifest and Tag make it part of a repository. Run keeps the store within its
// limits until its context ends.
//
// # What is on the disk
//
// There is no state file. The life of a blob counts from the modification time of its file. The order of eviction is in
// the access times, which the store sets itself, so that mount options do not matter. Both survive a kill, and a changed TTL
// applies to what is there. For a stock registry that takes over, scheduler-state.json is written, and never read.
//
// Nothing is synced to disk. A blob that this process did not write is hashed before it is served for the first time, and
// again when its file has changed: that finds what a crash, a full or a failing disk, or another program left behind. The
// price is one reading of each blob after a restart. A link counts as written if it has the right size.
//
// Removing a blob removes the links of layers and manifests in all repositories, and the tags that mean it: no repository
// is left with a link that leads nowhere.
//
// # Limits
//
// A blob is stored if it fits below the high watermark and the file system has room for it, next to all others that are on
// their way; the least recently used ones are evicted for it, as many as it needs, and Run goes on down to the low watermark
// while nobody waits. Sizes are those of the content: directories, links and the rest of each last block come on top, so
// the high watermark should leave room for them. Used is what is held; what is on its way is reserved next to it.
//
// # Locks
//
// One mutex guards the index, without I/O. Another one serialises what is moved into and out of its place on disk. No lock is
// held while content is hashed, written, or removed.
package store
