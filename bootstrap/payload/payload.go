package payload

import (
	_ "embed"
	"fmt"
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
	// Mirrors come behind them; an upstream may occur once, and may have a cache.
	Mirrors []Mirror
}

// Empty tells whether there is nothing to tell nodes.
func (v Values) Empty() bool { return len(v.Caches) == 0 && len(v.Mirrors) == 0 }

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
	upstreams, err := merge(v)
	if err != nil {
		return nil, err
	}
	for _, u := range upstreams {
		more, err := u.files()
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

func data(path, content string) File { return File{Path: path, Mode: 0o644, Content: []byte(content)} }

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
