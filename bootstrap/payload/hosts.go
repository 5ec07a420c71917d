package payload

import (
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// dialTimeout bounds what a cache that went away costs a pull (I3) until hosts.toml is withdrawn. containerd 2.0.7+ and
// 2.1+ honour it, older ones ignore it.
const dialTimeout = "100ms"

// installedCA is relative to hosts.toml. No TLS setting may be there for an http endpoint: containerd then tries https.
const installedCA = "ca.pem"

// hosts is containerd's hosts.toml: https://github.com/containerd/containerd/blob/main/docs/hosts.md.
// Without "server" containerd ends at the image's own host, as it does without us.
type hosts struct {
	Host map[string]host `toml:"host"`
}

// inlineHosts is the same for containerd 1.x where an endpoint is an IPv6 address: its parser takes no "]" in the name of
// a table, and 2.x takes a host only from a table.
type inlineHosts struct {
	Host map[string]host `toml:"host,inline"`
}

type host struct {
	Capabilities []string `toml:"capabilities"`
	DialTimeout  string   `toml:"dial_timeout"`
	CA           string   `toml:"ca,omitempty"`
}

func hostsFiles(dir, endpoint string, ownCA bool) ([]File, error) {
	h := host{Capabilities: []string{"pull", "resolve"}, DialTimeout: dialTimeout}
	if ownCA {
		h.CA = installedCA
	}
	list := map[string]host{endpoint: h}
	content, err := toml.Marshal(hosts{list})
	files := []File{data(dir+"/hosts.toml", Marker+"\n"+string(content))}
	if err != nil || !strings.Contains(endpoint, "]") {
		return files, err
	}
	content, err = toml.Marshal(inlineHosts{list})
	return append(files, data(dir+"/v1-hosts.toml", Marker+"\n"+string(content))), err
}
