package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/crypto/bcrypt"
)

const (
	guardedPort = "5002" // https, with authentication
	tokenPort   = "5003" // https, the token server
	tokenIssuer = "tokens"
	pullUser    = "puller"
)

// Guarded is an upstream that a cache has to log in to: one more stock registry over the same store, with TLS. It asks for a user and a
// password as htpasswd has them (Basic), or for a token that a server under another host name gives (Bearer). The servers
// that every upstream has ask nobody: what is pushed goes there, and nodes that pull directly.
type Guarded struct {
	*Upstream
	bearer bool
}

// GuardedUpstreams are one with Basic and one with Bearer authentication. They run once Create has started them.
func (s *Stack) GuardedUpstreams() (basic, bearer *Guarded) {
	return s.guarded("registry-basic", false), s.guarded("registry-bearer", true)
}

// AuthorityPEM is the certificate of who signs the certificates of all upstreams.
func (s *Stack) AuthorityPEM() []byte { return s.authority.PEM }

func (s *Stack) guarded(name string, bearer bool) *Guarded {
	g := &Guarded{Upstream: &Upstream{stack: s, name: name, network: Network}, bearer: bearer}
	g.more = []string{name + "-guarded"}
	if bearer {
		g.more = append(g.more, name+"-tokens")
		g.aliases = []string{g.tokenHost()}
	}
	return g
}

// RemoteURL is what a cache is told to pull from.
func (g *Guarded) RemoteURL() string { return "https://" + g.name + ".test:" + guardedPort }

// User is who may pull.
func (g *Guarded) User() string { return pullUser }

func (g *Guarded) tokenHost() string { return "tokens." + g.name + ".test" }

func (g *Guarded) certificates() string { return g.stack.paths.state("upstreams", g.name) }

// Create starts the registry, after an earlier one of this name was removed.
func (g *Guarded) Create(ctx context.Context, password string) error {
	if err := g.Remove(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(g.certificates(), 0o755); err != nil {
		return fmt.Errorf("starting %s: %w", g.name, err)
	}
	if err := os.WriteFile(filepath.Join(g.certificates(), "ca.crt"), g.stack.authority.PEM, 0o644); err != nil {
		return fmt.Errorf("starting %s: %w", g.name, err)
	}
	if err := g.SetPassword(password); err != nil {
		return err
	}
	if err := g.create(ctx); err != nil {
		return err
	}
	for server, args := range g.guards() {
		args = append([]string{"run", "-d", "--name", server, "--label", upstreamLabel, "--network", "container:" + g.name,
			"-v", g.name + ":/var/lib/registry", "-v", g.certificates() + ":/certificates:ro"}, args...)
		if _, err := docker(ctx, args...); err != nil {
			return err
		}
	}
	return g.waitGuarded(ctx)
}

// guards are the containers that ask who pulls, with what follows in docker run.
func (g *Guarded) guards() map[string][]string {
	registry := []string{
		"-e", "REGISTRY_HTTP_ADDR=:" + guardedPort,
		"-e", "REGISTRY_HTTP_TLS_CERTIFICATE=/certificates/tls.crt", "-e", "REGISTRY_HTTP_TLS_KEY=/certificates/tls.key",
	}
	if !g.bearer {
		return map[string][]string{g.name + "-guarded": append(registry,
			"-e", "REGISTRY_AUTH_HTPASSWD_REALM=e2e", "-e", "REGISTRY_AUTH_HTPASSWD_PATH=/certificates/htpasswd", upstreamImage)}
	}
	return map[string][]string{
		g.name + "-guarded": append(registry,
			"-e", "REGISTRY_AUTH_TOKEN_REALM=https://"+g.tokenHost()+":"+tokenPort+"/token", "-e", "REGISTRY_AUTH_TOKEN_SERVICE="+g.name,
			"-e", "REGISTRY_AUTH_TOKEN_ISSUER="+tokenIssuer, "-e", "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE=/certificates/ca.crt", upstreamImage),
		g.name + "-tokens": {"--entrypoint", "/tokens", upstreamImage, "-address", ":" + tokenPort, "-issuer", tokenIssuer},
	}
}

// SetPassword changes the password at once. The registry reads its file again when that changes, and the token server always.
func (g *Guarded) SetPassword(password string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return fmt.Errorf("changing the password of %s: %w", g.name, err)
	}
	for name, line := range map[string]string{"htpasswd": pullUser + ":" + string(hash), "credentials": pullUser + ":" + password} {
		file := filepath.Join(g.certificates(), name)
		if err := os.WriteFile(file+".next", []byte(line+"\n"), 0o644); err != nil { //nolint:gosec // the container has another user
			return fmt.Errorf("changing the password of %s: %w", g.name, err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			return fmt.Errorf("changing the password of %s: %w", g.name, err)
		}
	}
	return nil
}

// waitGuarded waits until the registry asks who pulls.
func (g *Guarded) waitGuarded(ctx context.Context) error {
	addresses, err := g.addresses(ctx)
	if err != nil {
		return err
	}
	trusting, err := g.stack.authority.client()
	if err != nil {
		return err
	}
	return g.stack.Progress.Until(ctx, upstreamTimeout, "upstream "+g.name+" with authentication", func(ctx context.Context) string {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addresses[0]+":"+guardedPort+"/v2/", nil)
		if err != nil {
			return err.Error()
		}
		response, err := trusting.Do(request)
		if err != nil {
			return err.Error()
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			return "it answers " + response.Status
		}
		return ""
	})
}

// Remove removes all of it.
func (g *Guarded) Remove(ctx context.Context) error { return g.remove(ctx) }
