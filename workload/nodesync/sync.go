package nodesync

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

const (
	// interval is how soon a file that somebody changed on the node is put right.
	interval = 10 * time.Second
	// callTimeout bounds each round of calls to the node's service manager.
	callTimeout = 30 * time.Second
	// abandonMinutes is when a unit that nobody looks after, and whose caches do not answer, clears the node.
	abandonMinutes = "60\n"
)

// Syncer keeps one node in its desired state.
type Syncer struct {
	state   desired.State
	host    host
	systemd Systemd
	log     *slog.Logger

	mu sync.Mutex
	// trouble is what the last round met.
	trouble *Problem
}

// New returns a Syncer for the node whose file system is below root. Close it when it has ended.
func New(state desired.State, root string, systemd Systemd, log *slog.Logger) (*Syncer, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opening the node's file system: %w", err)
	}
	return &Syncer{state: state, host: host{r}, systemd: systemd, log: log}, nil
}

// Close releases the node's file system.
func (s *Syncer) Close() error { return s.host.Close() }

// Run syncs until the context ends.
func (s *Syncer) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		s.note(s.round(ctx))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round puts right what is not as it should be.
func (s *Syncer) round(ctx context.Context) *Problem {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if s.state.Remove && len(s.host.left(s.state)) == 0 {
		return nil
	}
	restart, err := s.write()
	if err != nil {
		return &Problem{Reason: ReasonWriteFailed, Message: err.Error()}
	}
	active, err := s.systemd.Active(ctx, s.state.Unit)
	if err == nil && (restart || !active) {
		err = s.systemd.Start(ctx, s.state.Unit)
		s.log.Info("started the unit", "unit", s.state.Unit, "changed", restart, "error", err)
	}
	if err != nil {
		return &Problem{Reason: ReasonNoSystemd, Message: err.Error()}
	}
	return nil
}

// write brings all files in line; the generation comes last, so that the unit never repeats one that is half there.
func (s *Syncer) write() (restart bool, err error) {
	if restart, err = s.host.write(s.state); err != nil {
		return restart, err
	}
	if s.state.Remove {
		_, err = s.host.put(desired.File{Path: "/" + removeFile, Mode: 0o644})
		return restart, err
	}
	if err = s.host.prune(s.state); err != nil {
		return restart, err
	}
	if err = s.touch(); err != nil {
		return restart, err
	}
	changed, err := s.host.put(desired.File{Path: "/" + generationFile, Mode: 0o644, Content: []byte(s.state.Generation + "\n")})
	if changed {
		s.log.Info("wrote the desired state", "generation", s.state.Generation)
	}
	return restart, err
}

// touch tells the unit that somebody looks after the node.
func (s *Syncer) touch() error {
	if _, err := s.host.put(desired.File{Path: "/" + managedFile, Mode: 0o644, Content: []byte(abandonMinutes)}); err != nil {
		return err
	}
	now := time.Now()
	if err := s.host.Chtimes(managedFile, now, now); err != nil {
		return fmt.Errorf("touching /%s: %w", managedFile, err)
	}
	return nil
}

// note keeps a problem, and logs it when it is new.
func (s *Syncer) note(p *Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p != nil && (s.trouble == nil || *s.trouble != *p) {
		s.log.Error(p.Message, "reason", p.Reason)
	}
	s.trouble = p
}

// Report tells what is known of the node now.
func (s *Syncer) Report() Report {
	r := Report{Generation: s.state.Generation}
	if s.state.Remove {
		s.reportRemoval(&r)
	} else {
		content, _ := fs.ReadFile(s.host.FS(), stateDir+"/state")
		r.read(string(content))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.trouble != nil:
		r.add(*s.trouble)
	case !r.TakenOver && len(r.Problems) == 0:
		r.add(Problem{Reason: ReasonPending, Message: "the unit " + s.state.Unit + " has not taken over yet; its journal says why"})
	}
	return r
}

func (s *Syncer) reportRemoval(r *Report) {
	left := s.host.left(s.state)
	if r.TakenOver = len(left) == 0; !r.TakenOver {
		r.add(Problem{Reason: ReasonPending, Message: "still there: " + strings.Join(left, ", ")})
	}
}
