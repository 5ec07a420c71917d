package upstream

import (
	"context"
	"sync"
	"time"
)

const (
	// defaultTokenLife is that of a token which does not tell, by the specification of distribution.
	defaultTokenLife = 60 * time.Second
	longestTokenLife = 24 * time.Hour
	// refusedLife is for how long refused credentials are not tried again: token servers lock accounts and addresses.
	refusedLife = 10 * time.Second
	// maxTokens bounds what clients that ask for many repositories make us keep.
	maxTokens = 4096
)

// tokenKey is what a token is good for. generation is that of the credentials; 0 is anonymous.
type tokenKey struct {
	realm, service, scope string
	generation            uint64
}

// token is one, or why there is none.
type token struct {
	value string
	err   error
	until time.Time
}

// flight is a token on its way; done is closed once it is there.
type flight struct {
	done  chan struct{}
	token token
}

// tokens keeps tokens until 90 % of their life is over, and fetches each once however many wait for it.
type tokens struct {
	mu      sync.Mutex
	held    map[tokenKey]token
	flights map[tokenKey]*flight
}

func newTokens() *tokens {
	return &tokens{held: map[tokenKey]token{}, flights: map[tokenKey]*flight{}}
}

// get returns the token for key, which fetch gets if none is held. fetch does not end with ctx, as others may wait.
func (t *tokens) get(ctx context.Context, key tokenKey, fetch func(context.Context) token) (string, error) {
	t.mu.Lock()
	if held, ok := t.held[key]; ok && time.Now().Before(held.until) {
		t.mu.Unlock()
		return held.value, held.err
	}
	f, ok := t.flights[key]
	if !ok {
		f = &flight{done: make(chan struct{})}
		t.flights[key] = f
		go t.land(context.WithoutCancel(ctx), key, f, fetch)
	}
	t.mu.Unlock()

	select {
	case <-f.done:
		return f.token.value, f.token.err
	case <-ctx.Done():
		return "", left(ctx)
	}
}

func (t *tokens) land(ctx context.Context, key tokenKey, f *flight, fetch func(context.Context) token) {
	f.token = fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flights, key)
	if time.Now().Before(f.token.until) {
		t.makeRoom()
		t.held[key] = f.token
	}
	close(f.done)
}

// makeRoom drops what is over, and anything if that is not enough.
func (t *tokens) makeRoom() {
	if len(t.held) < maxTokens {
		return
	}
	now := time.Now()
	for key, held := range t.held {
		if !now.Before(held.until) {
			delete(t.held, key)
		}
	}
	for key := range t.held {
		if len(t.held) < maxTokens {
			return
		}
		delete(t.held, key)
	}
}

// drop forgets a token that was refused, unless another one has taken its place.
func (t *tokens) drop(key tokenKey, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[key].value == value {
		delete(t.held, key)
	}
}

// dropOthers forgets the tokens of credentials before generation.
func (t *tokens) dropOthers(generation uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.held {
		if key.generation != 0 && key.generation != generation {
			delete(t.held, key)
		}
	}
}
