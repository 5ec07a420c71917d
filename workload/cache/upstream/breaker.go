package upstream

import (
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

const (
	failuresToOpen = 3
	// trialAfter is when an open breaker lets a request through, if nobody probes.
	trialAfter   = 10 * time.Second
	firstProbe   = time.Second
	longestProbe = 10 * time.Second
)

// breaker knows whether the upstream is worth asking. The zero value is not usable; newBreaker makes a closed one.
type breaker struct {
	host   string
	opened chan struct{} // holds a value after the breaker opened; for the one that probes

	mu       sync.Mutex
	open     bool
	reason   Kind
	openedAt time.Time
	failures int       // in a row
	answered time.Time // the last time that the upstream answered
	probers  int       // who close the breaker; without them a trial does
	trial    bool      // a request is on its way to find out
	probes   int       // since a request went well
}

func newBreaker(host string) *breaker {
	return &breaker{host: host, opened: make(chan struct{}, 1)}
}

// check returns an error if the upstream is not to be asked now.
func (b *breaker) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open || b.mayTry() {
		return nil
	}
	return &Error{Kind: Open, Err: errors.New("not asked since it failed: " + string(b.reason))}
}

// admit is check for a request that will be sent now; its outcome must be told.
func (b *breaker) admit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return nil
	}
	if b.mayTry() {
		b.trial = true
		return nil
	}
	return &Error{Kind: Open, Err: errors.New("not asked since it failed: " + string(b.reason))}
}

func (b *breaker) mayTry() bool {
	return b.probers == 0 && !b.trial && time.Since(b.openedAt) >= trialAfter
}

// alive tells that the upstream answered a request.
func (b *breaker) alive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = time.Now()
	b.trial = false
	if !b.open {
		return
	}
	b.open, b.failures = false, 0
	metrics.BreakerOpen.Set(0)
	logrus.WithField("upstream", b.host).Info("the upstream answers again")
}

// well tells that a request went well to the end of its body.
func (b *breaker) well() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.probes = 0, 0
}

// abandoned tells that a request ended without saying anything about the upstream.
func (b *breaker) abandoned() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = false
}

// failed tells that a request failed.
func (b *breaker) failed(e *Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wasTrial := b.trial
	b.trial = false
	switch e.Kind {
	case Timeout, DNS, Refused, TLS, Reset, ServerError:
	default:
		return
	}
	b.failures++
	atOnce := (e.Kind == Timeout || e.unreachable) && !b.answered.After(e.since)
	if b.open {
		if wasTrial {
			b.openedAt = time.Now()
		}
		return
	}
	if atOnce || b.failures >= failuresToOpen {
		b.openFor(e.Kind)
	}
}

func (b *breaker) openFor(reason Kind) {
	b.open, b.reason, b.openedAt = true, reason, time.Now()
	select {
	case b.opened <- struct{}{}:
	default:
	}
	metrics.BreakerOpen.Set(1)
	logrus.WithFields(logrus.Fields{"upstream": b.host, "kind": string(reason)}).
		Warn("the upstream fails; it is not asked until it answers again")
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// prober tells that somebody closes the breaker from now on (1), or does no more (-1).
func (b *breaker) prober(change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probers += change
}

// untilProbe is how long to wait before the next probe: 1 s, 1 s, 2 s, 4 s, 8 s, and 10 s from then on.
func (b *breaker) untilProbe() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probes++
	wait := firstProbe
	for i := 2; i < b.probes && wait < longestProbe; i++ {
		wait *= 2
	}
	return min(wait, longestProbe)
}
