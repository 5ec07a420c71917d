// Package report is what a cache tells the controller of itself: one JSON document at Path of its debug port. It holds no
// credential, and no text that changes while the state stays the same, so that it may be repeated in a condition.
package report

import (
	"encoding/json"
	"fmt"
)

// Path is where the document is served.
const Path = "/report"

// Report is the document.
type Report struct {
	Access Access `json:"access"`
	Volume Volume `json:"volume"`
	// Pulls is nil in the report of a cache that does not count them yet.
	Pulls *Pulls `json:"pulls,omitempty"`
}

// Access is what became of the credentials and CA certificates with which the cache asks its upstream.
type Access struct {
	State AccessState `json:"state"`
	// Message says more: the answer of the upstream, or what is wrong with a file.
	Message string `json:"message,omitempty"`
}

// AccessState is one of the states below.
type AccessState string

const (
	// AccessUnused means that there is nothing to check: the upstream is asked as everyone is.
	AccessUnused AccessState = "Unused"
	// AccessUnchecked means that the upstream could not be asked yet.
	AccessUnchecked AccessState = "Unchecked"
	// AccessUnasked means that the upstream answers /v2/ to everyone, and that no pull needed the credentials yet.
	AccessUnasked AccessState = "Unasked"
	// AccessAccepted means that the upstream took them.
	AccessAccepted AccessState = "Accepted"
	// AccessRejected means that the upstream, or its token server, answered 401 or 403 to them.
	AccessRejected AccessState = "Rejected"
	// AccessWithheld means that the token server is not under the upstream's domain, so it is not sent the credentials.
	AccessWithheld AccessState = "Withheld"
	// AccessUnreadable means that a file cannot be used, and that there was no good one before.
	AccessUnreadable AccessState = "Unreadable"
	// AccessUntrusted means that the upstream does not prove to be who it should be.
	AccessUntrusted AccessState = "Untrusted"
)

// Volume is the state of what the store is on.
type Volume struct {
	State VolumeState `json:"state"`
	// CapacityBytes is what the store may use before its high watermark, StoredBytes what it holds, FreeBytes what the file system
	// has left.
	CapacityBytes int64 `json:"capacityBytes"`
	StoredBytes   int64 `json:"storedBytes"`
	FreeBytes     int64 `json:"freeBytes"`
}

// VolumeState is one of the states below.
type VolumeState string

const (
	// VolumeUsable means that what is pulled is stored.
	VolumeUsable VolumeState = "Usable"
	// VolumeFull means that there is no room for what is pulled, also after eviction.
	VolumeFull VolumeState = "Full"
	// VolumeFailing means that the file system refuses writes for another reason.
	VolumeFailing VolumeState = "Failing"
)

// Pulls is what nodes have asked the cache for since its process began: manifests, with which each pull begins. Probes are none. All times are
// durations, so that it does not matter whether clocks agree; each is rounded down.
type Pulls struct {
	RunningSeconds int64 `json:"runningSeconds"`
	// Asked counts all of them, Answered those that the cache had an answer for; the rest went on to the next host.
	Asked    Tally `json:"asked"`
	Answered Tally `json:"answered"`
}

// Tally is how many requests there were, and how long ago the last one was; SecondsAgo is nil if there was none.
type Tally struct {
	Count      int64  `json:"count"`
	SecondsAgo *int64 `json:"secondsAgo,omitempty"`
}

// Decode reads a document. States that this version does not know are kept as they are.
func Decode(document []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(document, &r); err != nil {
		return Report{}, fmt.Errorf("parsing the report of a cache: %w", err)
	}
	if r.Access.State == "" || r.Volume.State == "" {
		return Report{}, fmt.Errorf("the report of a cache: access.state is %q, volume.state is %q; accepted is a state for each", r.Access.State, r.Volume.State)
	}
	return r, nil
}
