package store

import (
	"encoding/json"
	"time"

	"github.com/sirupsen/logrus"
)

// expiry is an entry of the file in which distribution's scheduler keeps when what expires
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

// writeState tells a stock registry that takes over when our blobs expire: without that it would keep them for ever. This
// store never reads it.
func (s *Store) writeState() {
	if s.options.TTL == 0 {
		return
	}
	s.mu.Lock()
	changed := s.changed
	s.changed = false
	state := map[string]expiry{}
	for d, e := range s.entries {
		for _, l := range e.links {
			kind := expiresBlob
			switch l.kind {
			case layerLink:
			case revisionLink:
				kind = expiresManifest
			default:
				continue
			}
			key := l.repository + "@" + d.String()
			state[key] = expiry{Key: key, Expiry: e.stored.Add(s.options.TTL), EntryType: kind}
		}
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	content, err := json.Marshal(state)
	if err == nil {
		err = writeFile(s.path(stateFile), content)
	}
	if err != nil {
		logrus.WithError(err).Warn("writing when blobs expire, for a stock registry")
	}
}
