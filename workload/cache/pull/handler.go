package pull

import (
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

// SourceHeader is the header of an answer that tells where it came from: one of the Source constants.
const SourceHeader = "X-Cache"

// Values of SourceHeader.
const (
	Hit       = "hit"       // from the store
	Miss      = "miss"      // from the upstream, and stored
	Coalesced = "coalesced" // from the transfer that an earlier request began
	Stale     = "stale"     // a tag from the store, because the upstream did not answer
	Bypass    = "bypass"    // from the upstream, and not stored
)

// Options are what a Handler works with.
type Options struct {
	Store    *store.Store
	Upstream *upstream.Client
	// RevalidateAfter is how long a tag is answered from the store before the upstream is asked again; 0 asks always.
	RevalidateAfter time.Duration
}

// Handler answers pulls. It may be used by any number of requests at a time.
type Handler struct {
	Options
	transfers *transfers
	manifests singleflight.Group // by repository@digest
	tags      singleflight.Group // by repository:tag
	slow      atomic.Int64       // when a tag was last waited for in vain, in nanoseconds since 1970; 0: it was not since
	demand    demand
}

// New returns a Handler. Store and Upstream are required.
func New(options Options) *Handler {
	return &Handler{Options: options, transfers: newTransfers(options.Store, options.Upstream), demand: demand{began: time.Now()}}
}

// Wait returns when no transfer runs any more; those that nobody waits for but that are worth their end are among them.
func (h *Handler) Wait() { h.transfers.wait() }
