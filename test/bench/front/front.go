package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// Options of a Front.
type Options struct {
	Listen  func() (net.Listener, error) // called at the start and when a refused upstream comes back
	Drop    func(drop bool) error        // makes all packets of the listener vanish, or no longer
	Handler http.Handler                 // the registry
}

// Front is a registry that can be broken. It is safe for concurrent use.
type Front struct {
	options Options
	ledger  ledger

	mu      sync.Mutex
	fault   Fault
	latency time.Duration
	rate    int64
	server  *http.Server
}

// New starts a Front without a fault. Close it.
func New(options Options) (*Front, error) {
	f := &Front{options: options, fault: None}
	if err := f.listen(); err != nil {
		return nil, err
	}
	return f, nil
}

// Set ends the fault of before and begins another one; it returns once that has taken effect.
func (f *Front) Set(fault Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault == f.fault {
		return nil
	}
	if err := f.end(f.fault); err != nil {
		return fmt.Errorf("ending the fault %s: %w", f.fault, err)
	}
	f.fault = None
	if err := f.begin(fault); err != nil {
		return fmt.Errorf("beginning the fault %s: %w", fault, err)
	}
	f.fault = fault
	return nil
}

func (f *Front) end(fault Fault) error {
	switch fault {
	case Refused:
		return f.listen()
	case BlackHole:
		return f.options.Drop(false)
	}
	return nil
}

func (f *Front) begin(fault Fault) error {
	switch fault {
	case Refused:
		return f.server.Close()
	case BlackHole:
		return f.options.Drop(true)
	}
	return nil
}

// SetLatency adds a round-trip time to new connections and to each request.
func (f *Front) SetLatency(latency time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency = latency
}

// SetRate limits the content of each answer, in bytes per second; 0 ends that.
func (f *Front) SetRate(rate int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = rate
}

// Close ends the Front, its connections and its fault.
func (f *Front) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.fault == BlackHole {
		err = f.options.Drop(false)
	}
	return errors.Join(err, f.server.Close())
}

type connectionKey struct{}

func (f *Front) listen() error {
	listener, err := f.options.Listen()
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	f.server = &http.Server{
		Handler:  f,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, connection net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, connection)
		},
	}
	go f.server.Serve(distant{listener, f.delay}) //nolint:errcheck // it ends by Close, and says so
	return nil
}

func (f *Front) delay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latency
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	fault, latency, rate := f.fault, f.latency, f.rate
	f.mu.Unlock()
	if wait(r.Context(), latency) != nil {
		return
	}
	key := keyOf(r)
	f.ledger.request(key, r.Method)
	if fault.refuse(w) {
		return
	}
	if fault == Slow {
		rate = SlowRate
	}
	a := &answer{ResponseWriter: w, request: r, ledger: &f.ledger, key: key}
	if key.Kind == Blob || key.Kind == Manifest {
		a.rate, a.cut, a.flip = rate, fault == Reset, fault == WrongDigest
	}
	f.options.Handler.ServeHTTP(a, r)
}

var content = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|referrers|tags)/([^/]+)$`)

func keyOf(r *http.Request) Key {
	if r.URL.Path == "/v2/" {
		return Key{Kind: Ping}
	}
	match := content.FindStringSubmatch(r.URL.Path)
	if match == nil {
		return Key{Kind: Other, Name: r.URL.Path}
	}
	switch match[2] {
	case "manifests":
		return Key{Kind: Manifest, Name: match[3]}
	case "blobs":
		return Key{Kind: Blob, Name: match[3]}
	}
	return Key{Kind: Other, Name: r.URL.Path}
}

// wait returns early, with an error, when ctx ends.
func wait(ctx context.Context, duration time.Duration) error {
	if duration <= 0 {
		return nil
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
