package payload

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// upstreamName admits a DNS name or an IPv4 address with an optional port: safe as one path element and in shell words.
var upstreamName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// upstream is all that serves one upstream: its cache, mirrors, or both.
type upstream struct {
	name    string
	cache   *Cache
	mirrors []MirrorHost
}

// merge returns the upstreams: those with a cache, in the order given, and behind them those that have mirrors only.
func merge(v Values) ([]*upstream, error) {
	var list []*upstream
	known := map[string]*upstream{}
	of := func(name string) *upstream {
		if known[name] == nil {
			known[name] = &upstream{name: name}
			list = append(list, known[name])
		}
		return known[name]
	}
	for _, c := range v.Caches {
		if known[c.Upstream] != nil {
			return nil, fmt.Errorf("upstream %q: occurs twice, once is accepted", c.Upstream)
		}
		of(c.Upstream).cache = &c
	}
	for _, m := range v.Mirrors {
		u := of(m.Upstream)
		if u.mirrors != nil {
			return nil, fmt.Errorf("mirrors of upstream %q: occur twice, once is accepted", m.Upstream)
		}
		if err := checkMirrors(m.Hosts); err != nil {
			return nil, fmt.Errorf("mirrors of upstream %q: %w", m.Upstream, err)
		}
		u.mirrors = m.Hosts
	}
	return list, nil
}

// files come in an order in which a node that meets only the first of them does not use a cache unasked, and no worse hosts than
// before.
func (u *upstream) files() ([]File, error) {
	if !upstreamName.MatchString(u.name) || strings.Contains(u.name, "..") {
		return nil, fmt.Errorf("upstream %q: host[:port] is accepted", u.name)
	}
	dir := stateDir + "/upstreams/" + u.name
	files, hosts, err := u.probed(dir)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.name, err)
	}
	more, err := hostsFiles(dir, "hosts.toml", append(hosts, mirrorHosts(u.mirrors)...))
	if err != nil {
		return nil, fmt.Errorf("upstream %s: rendering hosts.toml: %w", u.name, err)
	}
	return append(files, more...), nil
}

// probed is what comes before hosts.toml, and the host that comes first in it, if there is a cache: it is asked whether it answers, and
// the mirrors alone are used until it does. A mirror at the address of the cache is that cache.
func (u *upstream) probed(dir string) ([]File, []host, error) {
	if u.cache != nil {
		u.mirrors = without(u.mirrors, u.cache.Endpoint)
	}
	files, err := mirrorCAs(dir, u.mirrors)
	if err != nil || u.cache == nil {
		return files, nil, err
	}
	if len(u.mirrors) > 0 {
		fallback, err := hostsFiles(dir, "fallback.toml", mirrorHosts(u.mirrors))
		if err != nil {
			return nil, nil, fmt.Errorf("rendering fallback.toml: %w", err)
		}
		files = append(files, fallback...)
	}
	more, first, err := u.cache.files(dir)
	return append(files, more...), []host{first}, err
}

// files are what the cache is asked by, and how containerd is told of it.
func (c *Cache) files(dir string) ([]File, host, error) {
	if err := checkEndpoint(c.Endpoint); err != nil {
		return nil, host{}, fmt.Errorf("endpoint %q: %w", c.Endpoint, err)
	}
	ca, err := caFile(dir+"/"+cacheCA, c.Endpoint, c.CA)
	if err != nil {
		return nil, host{}, fmt.Errorf("ca: %w", err)
	}
	h := host{url: c.Endpoint, Capabilities: []string{capabilityPull, capabilityResolve}, DialTimeout: cacheDialTimeout}
	if len(ca) > 0 {
		h.CA = cacheCA
	}
	return append([]File{data(dir+"/probe", probeURL(*c)+"\n")}, ca...), h, nil
}

// probeURL names the upstream as containerd does, so that a cache which got the address of another one does not pass
// for it.
func probeURL(c Cache) string {
	return c.Endpoint + "/v2/?" + url.Values{"ns": {c.Upstream}}.Encode()
}

func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.Scheme+"://"+u.Host != endpoint || strings.ContainsAny(endpoint, " \t\r\n\"'\\") {
		return errors.New("http://host:port or https://host:port, without user and path, is accepted")
	}
	return nil
}
