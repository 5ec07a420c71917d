// Package pull answers pulls: from the store if it can, else from the upstream, which it asks once however many ask
// for the same thing at the same moment.
//
// New takes a store.Store and an upstream.Client. Handler.Blob, Handler.Manifest, Handler.Tags and Handler.Referrers are
// the handlers of the four routes that read; the variables of the routes are those of distribution's router.
//
// # Blobs
//
// A blob that is not stored is transferred once. The transfer writes to the store; everyone who waits reads the growing
// file through a handle of his own, so that the first byte of the last client does not wait for the last byte of the
// first, a slow client holds nobody up, and the kernel copies (sendfile). The transfer belongs to nobody: it goes on while
// anyone waits, and to its end if more than half is there. A connection that the upstream breaks is taken up again with
// a Range request where it broke.
//
// The last byte is kept back until the digest of all bytes was checked. So a wrong or incomplete blob is never answered in
// full: the connection is cut before its end, and the digest is refused for a while, in which containerd moves on to
// the next host. Of a small blob nothing is answered before it was checked.
//
// If the store takes no more in the middle of a transfer, its clients get the rest straight from the upstream.
//
// Blobs are global: what was pulled for one repository is served for all of them. All clients of a cache share its
// credentials anyway, and base layers are then transferred once.
//
// # Manifests and tags
//
// A tag is asked upstream by HEAD on each pull (or after RevalidateAfter), a manifest by digest once. What is stored is
// served when the upstream does not answer as it should, except when it says that the tag does not exist.
package pull
