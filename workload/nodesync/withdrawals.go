package main

import (
	"maps"
	"sync"
)

// withdrawals counts for each upstream how often it stopped being active.
type withdrawals struct {
	mu     sync.Mutex
	active map[string]bool
	counts map[string]int
}

// observe takes what the unit says now. An upstream that is no longer among the others is one that the node is no longer told of: it was
// not withdrawn, and is forgotten. A unit that says nothing at all has stopped, and has withdrawn all. The caller holds the lock.
func (w *withdrawals) observe(upstreams []upstreamState) {
	if w.counts == nil {
		w.counts = map[string]int{}
	}
	if len(upstreams) == 0 {
		for upstream := range w.active {
			w.counts[upstream]++
		}
		w.active = nil
		return
	}
	active, counts := map[string]bool{}, map[string]int{}
	for _, u := range upstreams {
		counts[u.upstream] = w.counts[u.upstream]
		if u.state == stateActive {
			active[u.upstream] = true
		} else if w.active[u.upstream] {
			counts[u.upstream]++
		}
	}
	w.active, w.counts = active, counts
}

func (w *withdrawals) byUpstream() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}
