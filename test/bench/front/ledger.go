package front

import (
	"maps"
	"net/http"
	"sync"
)

// Kind is what a request asks for.
type Kind string

// The kinds that are told apart.
const (
	Ping     Kind = "ping"
	Manifest Kind = "manifest"
	Blob     Kind = "blob"
	Other    Kind = "other"
)

// Key is one piece of content: Name is a digest or a tag.
type Key struct {
	Kind Kind
	Name string
}

// Count is what a piece of content, or all of it, cost the upstream. Bytes are those of bodies with content.
type Count struct {
	Gets, Heads, Bytes int64
}

// Counts are the Count of each piece of content.
type Counts map[Key]Count

// Sum adds up what all content of these kinds cost; without kinds, everything.
func (c Counts) Sum(kinds ...Kind) Count {
	var sum Count
	for key, count := range c {
		if len(kinds) > 0 && !contains(kinds, key.Kind) {
			continue
		}
		sum.Gets += count.Gets
		sum.Heads += count.Heads
		sum.Bytes += count.Bytes
	}
	return sum
}

func contains(kinds []Kind, kind Kind) bool {
	for _, k := range kinds {
		if k == kind {
			return true
		}
	}
	return false
}

type ledger struct {
	mu     sync.Mutex
	counts Counts
}

func (l *ledger) change(key Key, change func(*Count)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = Counts{}
	}
	count := l.counts[key]
	change(&count)
	l.counts[key] = count
}

func (l *ledger) request(key Key, method string) {
	l.change(key, func(c *Count) {
		if method == http.MethodHead {
			c.Heads++
		} else {
			c.Gets++
		}
	})
}

func (l *ledger) content(key Key, bytes int) {
	l.change(key, func(c *Count) { c.Bytes += int64(bytes) })
}

// Counts returns what was counted since the start or the last Forget.
func (f *Front) Counts() Counts {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	return maps.Clone(f.ledger.counts)
}

// Forget starts counting anew.
func (f *Front) Forget() {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.ledger.counts = nil
}
