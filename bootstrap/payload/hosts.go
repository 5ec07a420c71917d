package payload

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// cacheDialTimeout bounds what a cache that went away costs a pull (I3) until hosts.toml is withdrawn. containerd 2.0.7+ and
	// 2.1+ honour it, older ones ignore it.
	cacheDialTimeout = "100ms"
	// mirrorDialTimeout is the same for mirrors, which nobody watches, and which may be far away. Looking up the name counts too.
	mirrorDialTimeout = "1s"
)

// cacheCA is relative to hosts.toml. No TLS setting may be there for an http endpoint: containerd then tries https.
const cacheCA = "ca.pem"

// host is a table of containerd's hosts.toml: https://github.com/containerd/containerd/blob/main/docs/hosts.md.
type host struct {
	url string

	Capabilities []string `toml:"capabilities"`
	DialTimeout  string   `toml:"dial_timeout"`
	CA           string   `toml:"ca,omitempty"`
	OverridePath bool     `toml:"override_path,omitempty"`
}

// hostsFiles are a hosts.toml of this name with the hosts in the order in which containerd asks them. After them it asks the
// image's own host, as it does without us, since there is no "server".
//
// containerd 1.x gets another form where an address is an IPv6 one: its parser takes no "]" in the name of a table, and 2.x takes
// hosts only from tables. Both go by the lines on which hosts begin, 1.x not if they are inline tables.
func hostsFiles(dir, name string, list []host) ([]File, error) {
	tables, dotted := Marker+"\n", Marker+"\n[host]\n"
	for _, h := range list {
		content, err := toml.Marshal(h)
		if err != nil {
			return nil, err
		}
		tables += "[host.'" + h.url + "']\n" + string(content)
		for line := range strings.Lines(string(content)) {
			dotted += "'" + h.url + "'." + line
		}
	}
	files := []File{data(dir+"/"+name, tables)}
	if slices.ContainsFunc(list, func(h host) bool { return strings.Contains(h.url, "]") }) {
		files = append(files, data(dir+"/v1-"+name, dotted))
	}
	return files, nil
}
