package main

import (
	"container/list"
	"math/rand/v2"
)

// zipfExponent is the skew of popularity: the most popular tenth of 400 blobs gets about 70 % of the pulls.
const zipfExponent = 1.1

// newTrace is which of so many blobs is pulled, pull by pull, always the same.
func newTrace(blobs, pulls int) []int {
	source := rand.New(rand.NewPCG(5, 5))
	zipf := rand.NewZipf(source, zipfExponent, 1, uint64(blobs-1))
	rank := source.Perm(blobs)
	trace := make([]int, pulls)
	for n := range trace {
		trace[n] = rank[zipf.Uint64()]
	}
	return trace
}

// idealHits is how many pulls of the trace an LRU cache of that capacity serves, if it never is over it and evicts no more
// than it has to.
func idealHits(trace []int, sizes []int64, capacity int64) int {
	recent := list.New() // the most recent first
	held := map[int]*list.Element{}
	var used int64
	hits := 0
	for _, blob := range trace {
		if element, ok := held[blob]; ok {
			recent.MoveToFront(element)
			hits++
			continue
		}
		if sizes[blob] > capacity {
			continue
		}
		for used+sizes[blob] > capacity && recent.Len() > 0 {
			victim := recent.Remove(recent.Back()).(int)
			delete(held, victim)
			used -= sizes[victim]
		}
		held[blob] = recent.PushFront(blob)
		used += sizes[blob]
	}
	return hits
}
