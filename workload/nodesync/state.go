package main

import "strings"

// unitStateFile is where the unit says what it does.
const unitStateFile = stateDir + "/state"

// States of an upstream on a node, as the unit writes them.
const (
	stateActive      = "active"
	stateStatic      = "static"
	stateWaiting     = "waiting"
	stateConflict    = "conflict"
	stateUnsupported = "unsupported"
)

// upstreamState is a line of what the unit says of itself.
type upstreamState struct{ upstream, state, why string }

// parseState reads what the unit says: the generation that it acts on, and its upstreams in their order.
func parseState(content string) (generation string, upstreams []upstreamState) {
	for line := range strings.Lines(content) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		state, why, _ := strings.Cut(rest, " ")
		if name == "generation" {
			generation = state
			continue
		}
		upstreams = append(upstreams, upstreamState{name, state, why})
	}
	return generation, upstreams
}
