package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Run closes the breaker: while it is open, /v2/ is asked 1 s after it opened and then after 1 s, 2 s, 4 s … up to
// 10 s, until there is an answer below 500. It returns when ctx ends. Without it, Do lets a request through 10 s after
// the breaker opened.
func (c *Client) Run(ctx context.Context) {
	c.breaker.prober(1)
	defer c.breaker.prober(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.breaker.opened:
		}
		for c.breaker.isOpen() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.breaker.untilProbe()):
				c.probe(ctx)
			}
		}
	}
}

// probe asks on a new connection if it can: those from before may be dead.
func (c *Client) probe(ctx context.Context) {
	c.transports.get().CloseIdleConnections()
	q, err := c.newQuestion(http.MethodGet, "/v2/", nil)
	if err != nil {
		return
	}
	response, err := c.send(ctx, q, grant{})
	if err == nil {
		_ = response.Body.Close() // unread: its end would say that requests go well
	}
	var e *Error
	if !errors.As(err, &e) || e.Status == 0 || e.Status >= http.StatusInternalServerError {
		c.settle(err)
		return
	}
	// 401 is what registries answer here.
	c.breaker.alive()
	if e.Kind == RateLimited {
		c.limit.extend(e.RetryAfter)
	}
}
