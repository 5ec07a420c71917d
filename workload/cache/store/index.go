package store

import (
	"container/list"
	"io/fs"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

// index is what the store holds, in memory. It does no I/O; Store.mu guards it.
type index struct {
	entries map[digest.Digest]*entry
	tags    map[tagKey]*tag
	idle    list.List // of *entry: those that nobody has open, least recently used first

	bytes     int64 // of all entries
	idleBytes int64
	changed   bool // since scheduler-state.json was written
}

// entry is a blob.
type entry struct {
	digest   digest.Digest
	size     int64
	stored   time.Time // modification time of the file
	accessed time.Time // when it was last opened or closed
	touched  time.Time // what the file's access time says of that
	held     bool      // false once it was removed

	opened  int
	element *list.Element // in index.idle; nil while it is open

	verified identity // of the file whose content is known to be right
	hashing  *hashing // running now

	links map[link]struct{}
	tags  map[tagKey]struct{} // whose current digest it is
}

// tag is the current digest of a tag, and what is in its directory.
type tag struct {
	current digest.Digest
	checked time.Time
	touched time.Time // what the file says of that
	index   map[digest.Digest]struct{}
}

// identity changes when a file does.
type identity struct {
	inode uint64
	size  int64
	mtime int64 // nanoseconds
}

func identityOf(info fs.FileInfo) identity {
	i := identity{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		i.inode = stat.Ino
	}
	return i
}

func newIndex() index {
	return index{entries: map[digest.Digest]*entry{}, tags: map[tagKey]*tag{}}
}

// put adds a blob, or replaces the file of one, and makes it the most recently used.
func (x *index) put(d digest.Digest, size int64, stored, accessed time.Time) *entry {
	e, ok := x.entries[d]
	if !ok {
		e = &entry{digest: d, held: true, links: map[link]struct{}{}, tags: map[tagKey]struct{}{}}
		e.element = x.idle.PushBack(e)
		x.entries[d] = e
	}
	x.resize(e, size)
	e.stored, e.accessed, e.touched = stored, accessed, time.Time{}
	e.verified, e.hashing = identity{}, nil
	if e.element != nil {
		x.idle.MoveToBack(e.element)
	}
	x.changed = true
	x.publish()
	return e
}

func (x *index) resize(e *entry, size int64) {
	x.bytes += size - e.size
	if e.element != nil {
		x.idleBytes += size - e.size
	}
	e.size = size
}

// open keeps e from being evicted until close.
func (x *index) open(e *entry) {
	e.accessed = time.Now()
	e.opened++
	if e.element != nil {
		x.idle.Remove(e.element)
		e.element = nil
		x.idleBytes -= e.size
	}
}

func (x *index) close(e *entry) {
	e.accessed = time.Now()
	e.opened--
	if e.held && e.opened == 0 {
		e.element = x.idle.PushBack(e)
		x.idleBytes += e.size
	}
}

// oldest is the least recently used blob that nobody has open, nil if there is none.
func (x *index) oldest() *entry {
	if front := x.idle.Front(); front != nil {
		return front.Value.(*entry)
	}
	return nil
}

// remove forgets e, its links, and the tags that mean it, and returns both.
func (x *index) remove(e *entry) (links []link, tags []tagKey) {
	for key := range e.tags {
		tags = append(tags, key)
		for d := range x.tags[key].index {
			if other, ok := x.entries[d]; ok {
				delete(other.links, link{tagIndexLink, key.repository, key.tag})
			}
		}
		delete(x.tags, key)
	}
	for l := range e.links {
		links = append(links, l)
		if t, ok := x.tags[tagKey{l.repository, l.tag}]; ok && l.kind == tagIndexLink {
			delete(t.index, e.digest)
		}
	}
	delete(x.entries, e.digest)
	e.held = false
	x.bytes -= e.size
	if e.element != nil {
		x.idle.Remove(e.element)
		e.element = nil
		x.idleBytes -= e.size
	}
	x.changed = true
	x.publish()
	return links, tags
}

func (x *index) linked(d digest.Digest, l link) bool {
	e, ok := x.entries[d]
	if !ok {
		return false
	}
	_, ok = e.links[l]
	return ok
}

// link notes a link of a blob that is held. That of a tag needs the tag first.
func (x *index) link(e *entry, l link) {
	e.links[l] = struct{}{}
	if l.kind == tagIndexLink {
		x.tags[tagKey{l.repository, l.tag}].index[e.digest] = struct{}{}
	}
	x.changed = true
}

// tag makes e what the tag means.
func (x *index) tag(key tagKey, e *entry, checked time.Time) {
	t, ok := x.tags[key]
	if !ok {
		t = &tag{index: map[digest.Digest]struct{}{}}
		x.tags[key] = t
	}
	if before, ok := x.entries[t.current]; ok {
		delete(before.tags, key)
	}
	t.current, t.checked, t.touched = e.digest, checked, checked
	e.tags[key] = struct{}{}
}

func (x *index) publish() {
	metrics.StoredBytes.Set(float64(x.bytes))
	metrics.StoredBlobs.Set(float64(len(x.entries)))
}
