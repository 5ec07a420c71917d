package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// StockImage is the image of a stock distribution registry. The upstreams run it, and a cache may.
	StockImage    = "capi-registry-cache/upstream:dev"
	upstreamImage = StockImage
	upstreamLabel = "io.capi-registry-cache.e2e=upstream"

	secretPort = "5000" // https, what image references name
	plainPort  = "5001" // http, what a cache is told to pull from

	upstreamTimeout = 30 * time.Second
)

// Upstream is a registry outside of all clusters: a container that holds the address, and two servers in its
// network namespace over one store, one with TLS and one without. The servers can be stopped while the name still
// resolves, so that a stopped upstream refuses connections at once, as a dead process behind a live address does.
type Upstream struct {
	stack         *Stack
	name, network string
	// aliases are more names of its address, more are more containers that serve it.
	aliases, more []string
}

// Upstreams are all registries of the stack.
func (s *Stack) Upstreams() []*Upstream {
	return []*Upstream{s.Upstream("registry-one"), s.Upstream("registry-two")}
}

// Upstream is one of the registries, by the first label of its host name.
func (s *Stack) Upstream(name string) *Upstream {
	return &Upstream{stack: s, name: name, network: Network}
}

// Host is what image references begin with, host:port.
func (u *Upstream) Host() string { return u.name + ".test:" + secretPort }

// DirectHost names the same server, but no cache is ever told of this name.
func (u *Upstream) DirectHost() string { return "direct-" + u.name + ".test:" + secretPort }

// RemoteURL is what a cache is told to pull from.
func (u *Upstream) RemoteURL() string { return "http://" + u.name + ".test:" + plainPort }

// AuthorityURL is https, with a certificate that only those trust who have the stack's authority.
func (u *Upstream) AuthorityURL() string { return "https://" + u.Host() }

func (u *Upstream) servers() []string {
	return append([]string{u.name + "-https", u.name + "-http"}, u.more...)
}

// startUpstreams builds the image and starts all upstreams that do not run.
func (s *Stack) startUpstreams(ctx context.Context) error {
	if err := s.buildUpstreamImage(ctx); err != nil {
		return err
	}
	for _, u := range s.Upstreams() {
		if err := u.create(ctx); err != nil {
			return fmt.Errorf("upstream %s: %w", u.name, err)
		}
	}
	return nil
}

func (u *Upstream) create(ctx context.Context) error {
	if state, _ := docker(ctx, "inspect", u.name, "--format", "{{.State.Status}}"); state == "running" {
		return u.Start(ctx)
	}
	hosts := []string{strings.TrimSuffix(u.Host(), ":"+secretPort), strings.TrimSuffix(u.DirectHost(), ":"+secretPort)}
	hosts = append(hosts, u.aliases...)
	args := []string{"run", "-d", "--name", u.name, "--label", upstreamLabel, "--network", u.network, "--entrypoint", "/idle"}
	for _, host := range hosts {
		args = append(args, "--network-alias", host)
	}
	if _, err := docker(ctx, append(args, upstreamImage)...); err != nil {
		return err
	}
	addresses, err := u.addresses(ctx)
	if err != nil {
		return err
	}
	pair, err := u.stack.authority.serve(append(hosts, addresses...)...)
	if err != nil {
		return err
	}
	certificates := u.stack.paths.state("upstreams", u.name)
	if err := pair.write(certificates); err != nil {
		return err
	}
	return u.createServers(ctx, certificates)
}

func (u *Upstream) createServers(ctx context.Context, certificates string) error {
	settings := map[string][]string{
		u.name + "-http": {"-e", "REGISTRY_HTTP_ADDR=:" + plainPort},
		u.name + "-https": {
			"-e", "REGISTRY_HTTP_ADDR=:" + secretPort, "-v", certificates + ":/certificates:ro",
			"-e", "REGISTRY_HTTP_TLS_CERTIFICATE=/certificates/tls.crt", "-e", "REGISTRY_HTTP_TLS_KEY=/certificates/tls.key",
		},
	}
	for server, more := range settings {
		args := append([]string{"run", "-d", "--name", server, "--label", upstreamLabel, "--network", "container:" + u.name,
			"-v", u.name + ":/var/lib/registry"}, more...)
		if _, err := docker(ctx, append(args, upstreamImage)...); err != nil {
			return err
		}
	}
	return u.waitUp(ctx)
}

// Start lets the registry answer again.
func (u *Upstream) Start(ctx context.Context) error {
	if _, err := docker(ctx, append([]string{"start"}, u.servers()...)...); err != nil {
		return err
	}
	return u.waitUp(ctx)
}

// Stop ends the servers; their address then refuses connections.
func (u *Upstream) Stop(ctx context.Context) error {
	_, err := docker(ctx, append([]string{"stop", "-t", "2"}, u.servers()...)...)
	return err
}

func (u *Upstream) waitUp(ctx context.Context) error {
	base, err := u.base(ctx)
	if err != nil {
		return err
	}
	return u.stack.Progress.Until(ctx, upstreamTimeout, "upstream "+u.name, func(ctx context.Context) string {
		return notReady(ctx, http.DefaultClient, base+"/v2/")
	})
}

// PlainURL is the URL at which this process reaches the server without TLS.
func (u *Upstream) PlainURL(ctx context.Context) (string, error) { return u.base(ctx) }

// base is the URL at which this host reaches the server without TLS.
func (u *Upstream) base(ctx context.Context) (string, error) {
	addresses, err := u.addresses(ctx)
	if err != nil {
		return "", err
	}
	return plainURL(addresses[0]), nil
}

func plainURL(address string) string { return "http://" + net.JoinHostPort(address, plainPort) }

// Addresses are those in the network of the clusters, IPv4 first.
func (u *Upstream) Addresses(ctx context.Context) ([]string, error) { return u.addresses(ctx) }

// addresses are those in the network, IPv4 first, IPv6 if the network has it.
func (u *Upstream) addresses(ctx context.Context) ([]string, error) {
	const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}"
	printed, err := docker(ctx, "inspect", u.name, "--format", format)
	addresses := strings.Fields(printed)
	if err == nil && len(addresses) == 0 {
		err = fmt.Errorf("upstream %s has no address", u.name)
	}
	return addresses, err
}

// removeUpstreams removes the containers and stores of all upstreams, and the proxy to them.
func (s *Stack) removeUpstreams(ctx context.Context) error {
	if err := s.RemoveEgressProxy(ctx); err != nil {
		return err
	}
	basic, bearer := s.GuardedUpstreams()
	for _, u := range append(s.Upstreams(), basic.Upstream, bearer.Upstream) {
		if err := u.remove(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (u *Upstream) remove(ctx context.Context) error {
	for _, container := range append(u.servers(), u.name) {
		if _, err := docker(ctx, "rm", "-f", container); err != nil {
			return err
		}
	}
	_, err := docker(ctx, "volume", "rm", "-f", u.name)
	return err
}

// buildUpstreamImage makes an image of the stock distribution registry, from nothing but its binary. As in distribution's own
// image, the configuration file is an argument that can be replaced.
func (s *Stack) buildUpstreamImage(ctx context.Context) error {
	dir := s.paths.state("upstream-image")
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return fmt.Errorf("preparing the upstream image: %w", err)
	}
	config, err := yaml.Marshal(map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "warn"},
		"storage": map[string]any{"filesystem": map[string]any{"rootdirectory": "/var/lib/registry"}},
		"http":    map[string]any{"addr": ":" + plainPort},
	})
	if err != nil {
		return fmt.Errorf("rendering the registry's configuration: %w", err)
	}
	const dockerfile = "FROM scratch\nCOPY . /\nENTRYPOINT [\"/registry\"]\nCMD [\"serve\", \"/config.yml\"]\n"
	for name, content := range map[string]string{
		"config.yml": string(config), "Dockerfile": dockerfile, filepath.Join("tmp", "keep"): "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("preparing the upstream image: %w", err)
		}
	}
	if _, err := output(ctx, "cp", s.paths.program("registry"), filepath.Join(dir, "registry")); err != nil {
		return err
	}
	for _, program := range []string{"idle", "tokens"} {
		if err := buildProgram(ctx, s.paths.root, "./test/e2e/"+program, filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	_, err = docker(ctx, "build", "-q", "--network", "none", "-t", upstreamImage, dir)
	return err
}
