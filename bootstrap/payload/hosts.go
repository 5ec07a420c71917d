package payload

import (
	"github.com/pelletier/go-toml/v2"
)

// dialTimeout bounds what a cache that went away costs a pull (I3) until hosts.toml is withdrawn. containerd 2.0.7+ and
// 2.1+ honour it, older ones ignore it.
const dialTimeout = "100ms"

// hosts is containerd's hosts.toml: https://github.com/containerd/containerd/blob/main/docs/hosts.md.
// Without "server" containerd ends at the image's own host, as it does without us.
type hosts struct {
	Host map[string]host `toml:"host"`
}

type host struct {
	Capabilities []string `toml:"capabilities"`
	DialTimeout  string   `toml:"dial_timeout"`
	CA           string   `toml:"ca,omitempty"`
}

// installedCA is relative to hosts.toml. No TLS setting may be there for an http endpoint: containerd then tries https.
const installedCA = "ca.pem"

func hostsTOML(endpoint string, ownCA bool) ([]byte, error) {
	h := host{Capabilities: []string{"pull", "resolve"}, DialTimeout: dialTimeout}
	if ownCA {
		h.CA = installedCA
	}
	content, err := toml.Marshal(hosts{Host: map[string]host{endpoint: h}})
	return append([]byte(Marker+"\n"), content...), err
}
