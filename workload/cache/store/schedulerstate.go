package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
)

// expiry is an entry of the file in which the scheduler of distribution v3.1.2 keeps what expires
// (registry/proxy/scheduler/scheduler.go).
type expiry struct {
	Key       string    `json:"Key"`
	Expiry    time.Time `json:"ExpiryData"`
	EntryType int       `json:"EntryType"`
}

// Values of EntryType.
const (
	expiresBlob = iota
	expiresManifest
)

// writeState tells a stock registry that takes over when each blob expires; without that it would keep them for ever. This
// store never reads the file.
func (s *Store) writeState() {
	state := s.state()
	if state == nil {
		return
	}
	content, err := json.Marshal(state)
	if err == nil {
		err = s.replaceFile(s.path(stateFile), content)
	}
	if err != nil {
		s.mu.Lock()
		s.index.changed = true
		s.mu.Unlock()
		logrus.WithError(fmt.Errorf("%s: %w", stateFile, err)).Warn("a stock registry would not know when blobs expire")
	}
}

// state is nil if nothing expires, or nothing has changed since it was last asked for.
func (s *Store) state() map[string]expiry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.TTL == 0 || !s.index.changed {
		return nil
	}
	s.index.changed = false
	state := map[string]expiry{}
	for d, e := range s.index.entries {
		for l := range e.links {
			if l.kind == tagIndexLink {
				continue
			}
			key := l.repository + "@" + string(d)
			kind := expiresBlob
			if l.kind == revisionLink || state[key].EntryType == expiresManifest {
				kind = expiresManifest
			}
			state[key] = expiry{Key: key, Expiry: e.stored.Add(s.options.TTL), EntryType: kind}
		}
	}
	return state
}
