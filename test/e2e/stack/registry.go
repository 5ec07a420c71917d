package stack

import (
	"context"
	"io"
	"os"
)

// Registry is an upstream registry without the rest of a stack, for specs that need no cluster.
type Registry struct {
	*Upstream
	// PlainURLs are what it is reached by without TLS: IPv4 first, then IPv6 if the network has it.
	PlainURLs []string
	// SecretURL is what it is reached by with TLS.
	SecretURL string
	// CA signed its certificate, in PEM.
	CA []byte
}

// NewRegistry is a registry of which nothing runs yet, or what an earlier process left running. Its container, its
// volume, and the folder of bin/ with its state have this name.
func NewRegistry(out io.Writer, name, network string) (*Registry, error) {
	s, err := newStack(out, name)
	if err != nil {
		return nil, err
	}
	return &Registry{Upstream: &Upstream{stack: s, name: name, network: network}}, nil
}

// Start starts the registry; its network has to be there.
func (r *Registry) Start(ctx context.Context) (err error) {
	s := r.stack
	if s.authority, err = loadAuthority(s.paths.state("authority")); err != nil {
		return err
	}
	if err := s.buildUpstreamImage(ctx); err != nil {
		return err
	}
	if err := r.create(ctx); err != nil {
		return err
	}
	addresses, err := r.addresses(ctx)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		r.PlainURLs = append(r.PlainURLs, plainURL(a))
	}
	r.SecretURL, r.CA = "https://"+addresses[0]+":"+secretPort, s.authority.PEM
	return nil
}

// Remove removes the registry and its state.
func (r *Registry) Remove(ctx context.Context) error {
	if err := r.remove(ctx); err != nil {
		return err
	}
	return os.RemoveAll(r.stack.paths.state())
}

// Pull is Stack.Pull on a node that is not part of a stack.
func (r *Registry) Pull(ctx context.Context, n Node, image string) error {
	_, err := r.stack.Pull(ctx, n, image)
	return err
}
