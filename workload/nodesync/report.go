package main

import (
	"strings"
	"time"
)

// Reasons of a Problem.
const (
	// ReasonConflict means that somebody else's file rules an upstream on this node.
	ReasonConflict = "Conflict"
	// ReasonUnsupported means that containerd is missing, or configured in a way that must not be changed here and now.
	ReasonUnsupported = "Unsupported"
	// ReasonNoSystemd means that the node's service manager does not answer.
	ReasonNoSystemd = "NoSystemd"
	// ReasonWriteFailed means that a file could not be written to the node.
	ReasonWriteFailed = "WriteFailed"
	// ReasonPending means that the unit has not taken over yet.
	ReasonPending = "Pending"
)

// Report is what is known of a node.
type Report struct {
	// Generation is the desired state that this Pod stands for, and TakenOver whether the node's unit has taken it over; for a
	// removal, whether nothing of ours is left.
	Generation string `json:"generation"`
	TakenOver  bool   `json:"takenOver"`
	// Upstreams are the upstreams with their status on the node: active, static, waiting, conflict or unsupported.
	Upstreams map[string]string `json:"upstreams,omitempty"`
	// Since is how long they have been so: when the status of any of them changed last. Now is when this was said. Both are of the clock
	// that the kubelet's Events have, too.
	Since *time.Time `json:"since,omitempty"`
	Now   time.Time  `json:"now"`
	// Problems are what keeps the node from being configured.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one thing that keeps a node from being configured.
type Problem struct {
	// Reason is one of the constants above; Upstream is empty if the whole node is concerned.
	Reason   string `json:"reason"`
	Upstream string `json:"upstream,omitempty"`
	// Message says what is in the way, and what can be done about it.
	Message string `json:"message"`
}

// Configured tells whether the node does what it was told.
func (r Report) Configured() bool { return r.TakenOver && len(r.Problems) == 0 }

// read takes what the unit says of itself into the report.
func (r *Report) read(generation string, upstreams []upstreamState) {
	for _, u := range upstreams {
		if r.Upstreams == nil {
			r.Upstreams = map[string]string{}
		}
		r.Upstreams[u.upstream] = u.state
		switch u.state {
		case stateConflict:
			r.add(Problem{ReasonConflict, u.upstream, u.why})
		case stateUnsupported:
			r.add(Problem{ReasonUnsupported, u.upstream, u.why})
		case stateWaiting:
			if strings.Contains(u.why, cannotWrite) { // not for the cache, then
				r.add(Problem{ReasonWriteFailed, u.upstream, u.why})
			}
		}
	}
	r.TakenOver = generation == r.Generation
}

func (r *Report) add(p Problem) { r.Problems = append(r.Problems, p) }
