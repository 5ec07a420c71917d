package cache_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

// valid is a configuration that Load accepts; STORE stands for a directory of the test.
const valid = `version: 0.1
storage: {filesystem: {rootdirectory: STORE}, delete: {enabled: true}}
http: {addr: ":5000"}
proxy: {remoteurl: "https://registry.example.com"}
`

func load(t *testing.T, content string) error {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yml")
	content = strings.ReplaceAll(content, "STORE", filepath.Join(dir, "store"))
	NewWithT(t).Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
	_, err := cache.Load(path)
	return err
}

func TestABadConfigurationIsRefusedWithFieldValueAndWhatIsAccepted(t *testing.T) {
	tests := map[string]struct {
		from, to string
		want     []string
	}{
		"an unknown version":               {"version: 0.1", "version: 0.2", []string{`unsupported version: "0.2"`, "accepted", "0.1"}},
		"no YAML":                          {"version: 0.1", "\t", []string{"config.yml", "accepted"}},
		"no storage":                       {"storage: {filesystem: {rootdirectory: STORE}, delete: {enabled: true}}", "", []string{"no storage", "accepted"}},
		"two storage drivers":              {"filesystem:", "s3: {}, filesystem:", []string{"exactly one storage type", "s3"}},
		"a driver that is not linked":      {"filesystem:", "s3:", []string{"storage", `"s3"`, "accepted is filesystem"}},
		"a store that cannot be created":   {"STORE", "/dev/null/store", []string{"storage.filesystem.rootdirectory", "/dev/null/store", "accepted"}},
		"a wrong log level":                {"version: 0.1", "version: 0.1\nlog: {level: loud}", []string{"loud", "error, warn, info, debug"}},
		"a wrong log formatter":            {"version: 0.1", "version: 0.1\nlog: {formatter: xml}", []string{"log.formatter", `"xml"`, "text, json and logstash"}},
		"no upstream":                      {`proxy: {remoteurl: "https://registry.example.com"}`, "", []string{"proxy.remoteurl", "not set", "accepted"}},
		"an upstream without a scheme":     {"https://registry", "registry", []string{"proxy.remoteurl", `"registry.example.com"`, "accepted"}},
		"an upstream with a path":          {"example.com", "example.com/v2", []string{"proxy.remoteurl", "example.com/v2", "accepted"}},
		"an upstream with a slash":         {"example.com", "example.com/", []string{"proxy.remoteurl", "example.com/", "accepted"}},
		"an upstream with a query":         {"example.com", "example.com?a=b", []string{"proxy.remoteurl", "?a=b", "accepted"}},
		"an upstream with another scheme":  {"https:", "ftp:", []string{"proxy.remoteurl", "ftp://", "accepted"}},
		"an upstream with a bad port":      {"example.com", "example.com:http", []string{"proxy.remoteurl", ":http", "accepted"}},
		"no address":                       {`http: {addr: ":5000"}`, "", []string{"http.addr", `""`, "accepted"}},
		"an address without a port":        {":5000", "localhost", []string{"http.addr", `"localhost"`, "accepted"}},
		"a debug address without a port":   {`":5000"`, `":5000", debug: {addr: localhost}`, []string{"http.debug.addr", `"localhost"`, "accepted"}},
		"a negative drain timeout":         {`":5000"`, `":5000", draintimeout: -1s`, []string{"http.draintimeout", "-1s", "accepted"}},
		"a drain timeout without a unit":   {`":5000"`, `":5000", draintimeout: soon`, []string{"soon", "accepted"}},
		"a certificate without a key":      {`":5000"`, `":5000", tls: {certificate: a}`, []string{"http.tls", "key", "accepted"}},
		"an unknown TLS version":           {`":5000"`, `":5000", tls: {minimumtls: tls1.1}`, []string{"http.tls.minimumtls", `"tls1.1"`, "accepted"}},
		"client certificates":              {`":5000"`, `":5000", tls: {clientcas: [a]}`, []string{"http.tls.clientcas", "accepted"}},
		"cipher suites":                    {`":5000"`, `":5000", tls: {ciphersuites: [a]}`, []string{"http.tls.ciphersuites", "accepted"}},
		"certificates from Let's Encrypt":  {`":5000"`, `":5000", tls: {letsencrypt: {cachefile: a}}`, []string{"http.tls.letsencrypt", "accepted"}},
		"a path before the API":            {`":5000"`, `":5000", prefix: /cache`, []string{"http.prefix", `"/cache"`, "accepted"}},
		"an unknown field of ours":         {"version: 0.1", "version: 0.1\npullthrough: {upstreams: {}}", []string{"pullthrough", "upstreams", "accepted"}},
		"an unknown field of http":         {"version: 0.1", "version: 0.1\npullthrough: {http: {plain: true}}", []string{"pullthrough", "plain", "accepted"}},
		"a watermark above the disk":       {"version: 0.1", "version: 0.1\npullthrough: {storage: {highwatermarkpercent: 101}}", []string{"pullthrough.storage.highwatermarkpercent", "101", "accepted"}},
		"watermarks the wrong way round":   {"version: 0.1", "version: 0.1\npullthrough: {storage: {lowwatermarkpercent: 85}}", []string{"pullthrough.storage.lowwatermarkpercent", "85", "accepted"}},
		"a negative size":                  {"version: 0.1", "version: 0.1\npullthrough: {storage: {maxsize: -1}}", []string{"pullthrough.storage.maxsize", "-1", "accepted"}},
		"no time to dial":                  {"version: 0.1", "version: 0.1\npullthrough: {upstream: {dialtimeout: 0s}}", []string{"pullthrough.upstream.dialtimeout", "0s", "accepted"}},
		"a negative time to revalidate":    {"version: 0.1", "version: 0.1\npullthrough: {revalidateafter: -1s}", []string{"pullthrough.revalidateafter", "-1s", "accepted"}},
		"a user without a password":        {"version: 0.1", "version: 0.1\npullthrough: {upstream: {usernamefile: /u}}", []string{"pullthrough.upstream", "passwordfile", "accepted"}},
		"authentication of those who pull": {"version: 0.1", "version: 0.1\nauth: {htpasswd: {realm: a}}", []string{"auth", `"htpasswd"`, "accepted"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(valid).To(ContainSubstring(test.from))
			err := load(t, strings.Replace(valid, test.from, test.to, 1))
			g.Expect(err).To(HaveOccurred())
			for _, part := range test.want {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
		})
	}
}

func TestABadVariableIsRefused(t *testing.T) {
	tests := map[string]struct{ name, value, want string }{
		"a kubelet service link that hits a section": {"REGISTRY_STORAGE_PORT", "tcp://10.0.0.1:5000", "REGISTRY_STORAGE_PORT"},
		"a second storage driver":                    {"REGISTRY_STORAGE_S3_BUCKET", "b", "multiple storage drivers"},
		"a time to live without a unit":              {"REGISTRY_PROXY_TTL", "forever", "REGISTRY_PROXY_TTL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv(test.name, test.value)
			NewWithT(t).Expect(load(t, valid)).To(MatchError(ContainSubstring(test.want)))
		})
	}
}

func TestAPasswordInTheUpstreamIsNotRepeatedI7(t *testing.T) {
	for _, remote := range []string{"https://user:hunter2@registry.example.com", "https://user:hunter2@[", "user:hunter2@registry"} {
		err := load(t, strings.Replace(valid, "https://registry.example.com", remote, 1))
		NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("proxy.remoteurl"), Not(ContainSubstring("hunter2")))), remote)
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	_, err := cache.Load("/nowhere/config.yml")
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("/nowhere/config.yml")))
	NewWithT(t).Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue())
}

func TestLoadFillsWhatACacheNeeds(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yml")
	content := strings.Replace(valid, "filesystem:", "cache: {blobdescriptor: inmemory}, filesystem:", 1)
	g.Expect(os.WriteFile(path, []byte(strings.ReplaceAll(content, "STORE", dir)), 0o600)).To(Succeed())
	t.Setenv("REGISTRY_PROXY_TTL", "2h")

	config, err := cache.Load(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.HTTP.DrainTimeout).To(Equal(25 * time.Second))
	g.Expect(config.Storage).NotTo(HaveKey("cache"))
	g.Expect(*config.Proxy.TTL).To(Equal(2 * time.Hour))
	g.Expect(config.Pullthrough.Storage.HighWatermarkPercent).To(Equal(85))
	g.Expect(config.Pullthrough.RevalidateAfter).To(BeZero())
}
