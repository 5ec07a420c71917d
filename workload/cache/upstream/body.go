package upstream

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// body is that of an answer: a read without a byte for too long ends it, and each failure is an *Error that counts.
type body struct {
	inner        io.ReadCloser
	client       *Client
	ctx, watched context.Context
	cancel       context.CancelCauseFunc
	watchdog     *time.Timer // ends watched
	closed       atomic.Bool
	err          error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	since := time.Now()
	b.watchdog.Reset(b.client.options.StallTimeout)
	n, err := b.inner.Read(p)
	b.watchdog.Stop()
	if err != nil {
		b.err = b.ended(err, since)
	}
	return n, b.err
}

// ended is what a read that returned err gives to the caller. A read that fails for no known reason broke off.
func (b *body) ended(err error, since time.Time) error {
	if errors.Is(err, io.EOF) {
		b.client.breaker.well()
		return io.EOF
	}
	if b.closed.Load() {
		return &Error{Kind: Other, Err: errors.New("the body is closed"), cancelled: true}
	}
	failure := failureOf(b.ctx, b.watched, err, since)
	if failure.Kind == Other && !failure.cancelled {
		failure.Kind = Reset
	}
	b.client.settle(failure)
	return failure
}

// Close implements io.Closer. It may be called while a Read waits, which then ends.
func (b *body) Close() error {
	if !b.closed.CompareAndSwap(false, true) {
		return nil
	}
	err := b.inner.Close()
	b.watchdog.Stop()
	b.cancel(nil)
	return err
}
