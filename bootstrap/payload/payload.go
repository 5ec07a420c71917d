package payload

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
)

// Marker is the first line of every hosts.toml of ours; a file without it is left alone on the node.
const Marker = "# managed by capi-registry-cache"

// UnitName is the systemd unit that the bootstrap data has to enable and start.
const UnitName = "configure-containerd-registries.service"

// DefaultCertsDir is the containerd host directory when Values name none.
const DefaultCertsDir = "/etc/containerd/certs.d"

const (
	scriptPath = "/opt/bin/configure-containerd-registries.sh"
	unitPath   = "/etc/systemd/system/" + UnitName
	stateDir   = "/etc/capi-registry-cache"
)

//go:embed configure-containerd-registries.sh
var script string

//go:embed configure-containerd-registries.service
var unit string

//go:embed managed.sh
var managed string

// upstreamName admits a DNS name or an IPv4 address with an optional port: safe as one path element and in shell words.
var upstreamName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// certsDirPath admits absolute paths of ordinary letters: containerd splits the value at colons.
var certsDirPath = regexp.MustCompile(`^(/[a-zA-Z0-9._-]+)+$`)

// Cache is one pull-through cache as nodes see it.
type Cache struct {
	// Upstream is the registry that image references name, host[:port].
	Upstream string
	// Endpoint is the base URL of the cache, http(s)://host:port without a path.
	Endpoint string
	// CA is the PEM of the certificates that nodes trust for an https Endpoint, and for nothing else; when it is empty,
	// those that the node trusts anyway.
	CA []byte
}

// Values is everything that the files depend on.
type Values struct {
	// CertsDir is the directory that containerd reads; "" means DefaultCertsDir.
	CertsDir string
	// Caches are written in the order given; an upstream may occur once.
	Caches []Cache
}

// File is one file on the node, owned by root:root.
type File struct {
	Path    string
	Mode    os.FileMode
	Content []byte
}

// Files returns the files of a node, always in the same order: script, unit, desired state. An error names the field,
// its value, and what is accepted.
func Files(v Values) ([]File, error) {
	dir := v.CertsDir
	if dir == "" {
		dir = DefaultCertsDir
	}
	if !certsDirPath.MatchString(dir) || path.Clean(dir) != dir {
		return nil, fmt.Errorf("certsDir %q: an absolute path such as %s is accepted", dir, DefaultCertsDir)
	}
	files := []File{
		{Path: scriptPath, Mode: 0o755, Content: []byte(strip(script))},
		data(unitPath, unit),
		data(stateDir+"/certs-dir", dir+"\n"),
	}
	seen := map[string]bool{}
	for _, c := range v.Caches {
		if seen[c.Upstream] {
			return nil, fmt.Errorf("upstream %q: occurs twice, once is accepted", c.Upstream)
		}
		seen[c.Upstream] = true
		more, err := upstreamFiles(c)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// Managed returns the file that lets a node clear itself, for nodes that somebody looks after.
func Managed() File {
	return File{Path: stateDir + "/managed.sh", Mode: 0o644, Content: []byte(managed)}
}

// Owned tells whether a node path is one of ours, of this or of an earlier payload.
func Owned(p string) bool {
	p = path.Clean(p)
	return p == scriptPath || p == unitPath || strings.HasPrefix(p, stateDir+"/")
}

func upstreamFiles(c Cache) ([]File, error) {
	if !upstreamName.MatchString(c.Upstream) || strings.Contains(c.Upstream, "..") {
		return nil, fmt.Errorf("upstream %q: host[:port] is accepted", c.Upstream)
	}
	if err := checkEndpoint(c.Endpoint); err != nil {
		return nil, fmt.Errorf("endpoint %q of upstream %s: %w", c.Endpoint, c.Upstream, err)
	}
	ca, err := trusted(c)
	if err != nil {
		return nil, fmt.Errorf("ca of upstream %s: %w", c.Upstream, err)
	}
	dir := stateDir + "/upstreams/" + c.Upstream
	files := []File{data(dir+"/probe", probeURL(c)+"\n")}
	if ca != "" {
		files = append(files, data(dir+"/ca.crt", ca))
	}
	hosts, err := hostsFiles(dir, c.Endpoint, ca != "")
	if err != nil {
		return nil, fmt.Errorf("rendering hosts.toml of upstream %s: %w", c.Upstream, err)
	}
	return append(files, hosts...), nil
}

func data(path, content string) File { return File{Path: path, Mode: 0o644, Content: []byte(content)} }

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

// strip drops indentation, which has no meaning in the script, and comment and blank lines but the first two, the interpreter
// and the marker.
func strip(script string) string {
	lines := strings.SplitAfter(script, "\n")
	kept := lines[:2:2]
	for _, l := range lines[2:] {
		if t := strings.TrimSpace(l); t != "" && !strings.HasPrefix(t, "#") {
			kept = append(kept, strings.TrimLeft(l, "\t"))
		}
	}
	return strings.Join(kept, "")
}
