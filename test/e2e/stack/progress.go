package stack

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// pollInterval is the time between two looks at something that is waited for.
const pollInterval = time.Second

// reportInterval is the time after which a wait tells again what it waits for, though nothing changed.
const reportInterval = 15 * time.Second

// Progress tells what goes on, a line each with the time since it began.
type Progress struct {
	mu    sync.Mutex
	out   io.Writer
	begin time.Time
}

// NewProgress returns a Progress that writes to out.
func NewProgress(out io.Writer) *Progress { return &Progress{out: out, begin: time.Now()} }

// Say writes a line.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, "%7.1fs  %s\n", time.Since(p.begin).Seconds(), fmt.Sprintf(format, args...))
}

// Step says what begins, does it, and says how long it took.
func (p *Progress) Step(what string, do func() error) error {
	p.Say("%s …", what)
	begin := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	p.Say("%s: done in %.1fs", what, time.Since(begin).Seconds())
	return nil
}

// Until asks again and again until done; what is missing is told when it changes and every reportInterval. The
// error of an unfinished wait holds what was missing last. A cancelled context ends it with the cause given.
func (p *Progress) Until(ctx context.Context, timeout time.Duration, what string, ask func(context.Context) (missing string)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	told, toldAt := "", time.Now()
	for {
		missing := ask(ctx)
		if missing == "" {
			return nil
		}
		if missing != told || time.Since(toldAt) > reportInterval {
			p.Say("%s: waiting: %s", what, missing)
			told, toldAt = missing, time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (timeout %s): %s", what, context.Cause(ctx), timeout, missing)
		case <-ticker.C:
		}
	}
}
