package main

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
)

// Syncer keeps one node in its desired state.
type Syncer struct {
	state   desired.State
	host    host
	systemd Systemd
	log     *slog.Logger

	withdrawals withdrawals

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
		s.look()
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
	change, err := s.write()
	if err != nil {
		return &Problem{Reason: ReasonWriteFailed, Message: err.Error()}
	}
	if err := s.wake(ctx, change); err != nil {
		return &Problem{Reason: ReasonNoSystemd, Message: err.Error()}
	}
	return nil
}

// wake lets the unit take over at once, by a start where it does not run or is another one now.
func (s *Syncer) wake(ctx context.Context, change change) error {
	active, err := s.systemd.Active(ctx, s.state.Unit)
	if err != nil {
		return err
	}
	if active && !change.unit {
		if change.state {
			return s.systemd.Wake(ctx, s.state.Unit)
		}
		return nil
	}
	s.log.Info("starting the unit", "unit", s.state.Unit, "changed", change.unit)
	return s.systemd.Start(ctx, s.state.Unit)
}

// write brings all files in line; the generation comes last, so that the unit never repeats one that is half there.
func (s *Syncer) write() (c change, err error) {
	if c.unit, err = s.host.write(s.state); err != nil {
		return c, err
	}
	if s.state.Remove {
		c.state, err = s.host.put(desired.File{Path: "/" + removeFile, Mode: 0o644})
		return c, err
	}
	if err = s.host.prune(s.state); err != nil {
		return c, err
	}
	if err = s.touch(); err != nil {
		return c, err
	}
	if c.state, err = s.host.put(desired.File{Path: "/" + generationFile, Mode: 0o644, Content: []byte(s.state.Generation + "\n")}); c.state {
		s.log.Info("wrote the desired state", "generation", s.state.Generation)
	}
	return c, err
}

// change is what a round changed: the unit or its script, or the state that they work from.
type change struct{ unit, state bool }

// touch tells the unit that somebody looks after the node.
func (s *Syncer) touch() error {
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
	r, _ := s.look()
	return r
}

// look is the Report with what the unit says of each upstream.
func (s *Syncer) look() (r Report, upstreams []upstreamState) {
	r = Report{Generation: s.state.Generation}
	if s.state.Remove {
		s.reportRemoval(&r)
	} else {
		var generation string
		generation, upstreams = s.unitState()
		r.read(generation, upstreams)
		// The unit writes it only when it changes.
		if info, err := fs.Stat(s.host.FS(), unitStateFile); err == nil {
			since := info.ModTime().UTC()
			r.Since = &since
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.trouble != nil:
		r.add(*s.trouble)
	case !r.TakenOver && len(r.Problems) == 0:
		r.add(Problem{Reason: ReasonPending, Message: "the unit " + s.state.Unit + " has not taken over yet; its journal says why"})
	}
	return r, upstreams
}

// unitState is what the unit says now. Withdrawals are counted here, by one look after the other.
func (s *Syncer) unitState() (generation string, upstreams []upstreamState) {
	s.withdrawals.mu.Lock()
	defer s.withdrawals.mu.Unlock()
	content, _ := fs.ReadFile(s.host.FS(), unitStateFile)
	generation, upstreams = parseState(string(content))
	s.withdrawals.observe(upstreams)
	return generation, upstreams
}

func (s *Syncer) reportRemoval(r *Report) {
	left := s.host.left(s.state)
	if r.TakenOver = len(left) == 0; !r.TakenOver {
		r.add(Problem{Reason: ReasonPending, Message: "still there: " + strings.Join(left, ", ")})
	}
}
