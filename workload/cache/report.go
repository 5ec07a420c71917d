package cache

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

// reporter serves the report of an engine, and 503 before there is one: the debug server answers before the store is read.
type reporter struct{ engine atomic.Pointer[engine] }

func (p *reporter) about(e *engine) { p.engine.Store(e) }

// ServeHTTP implements http.Handler.
func (p *reporter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e := p.engine.Load()
	if e == nil {
		http.Error(w, "the store is being read", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(e.report()); err != nil {
		logrus.WithError(err).Debug("answering with the report")
	}
}

func (e *engine) report() report.Report {
	room, pulls := e.stored.Room(), e.pulls.Pulls()
	return report.Report{
		Access: e.remote.Access(),
		Volume: report.Volume{
			State:         volumeState(room),
			CapacityBytes: room.Capacity,
			StoredBytes:   room.Used,
			FreeBytes:     room.Free,
		},
		Pulls: &pulls,
	}
}

// volumeState is one state of a volume that may have both troubles: a file system that fails is worse.
func volumeState(room store.Room) report.VolumeState {
	switch {
	case room.Failing:
		return report.VolumeFailing
	case room.Full:
		return report.VolumeFull
	default:
		return report.VolumeUsable
	}
}
