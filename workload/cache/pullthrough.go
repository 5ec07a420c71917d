package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	yaml "go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

// defaultTTL is distribution's, for a file without proxy.ttl.
const defaultTTL = 7 * 24 * time.Hour

// Pullthrough is the section of the configuration file that only this cache knows. A stock registry ignores it.
type Pullthrough struct {
	// RevalidateAfter is how long a tag is answered from the store before the upstream is asked again; 0 asks on each pull.
	RevalidateAfter time.Duration   `yaml:"revalidateafter"`
	HTTP            HTTPSection     `yaml:"http"`
	Upstream        UpstreamSection `yaml:"upstream"`
	Storage         StorageSection  `yaml:"storage"`
}

// HTTPSection says how clients are answered.
type HTTPSection struct {
	// Cleartext answers plain HTTP too, on the address that serves TLS.
	Cleartext bool `yaml:"cleartext"`
	// Lameduck is how long pulls are still served after SIGTERM while /v2/, which nodes probe, answers 503.
	Lameduck time.Duration `yaml:"lameduck"`
}

// UpstreamSection says how the upstream is asked. Files are read again when they change.
type UpstreamSection struct {
	DialTimeout           time.Duration `yaml:"dialtimeout"`
	TLSHandshakeTimeout   time.Duration `yaml:"tlshandshaketimeout"`
	ResponseHeaderTimeout time.Duration `yaml:"responseheadertimeout"`
	StallTimeout          time.Duration `yaml:"stalltimeout"` // of a body that sends no byte
	CAFile                string        `yaml:"cafile"`       // PEM, trusted next to the usual roots
	UsernameFile          string        `yaml:"usernamefile"`
	PasswordFile          string        `yaml:"passwordfile"`
}

// StorageSection says how much is stored.
type StorageSection struct {
	MaxSize              int64 `yaml:"maxsize"` // bytes; 0 is the size of the volume
	HighWatermarkPercent int   `yaml:"highwatermarkpercent"`
	LowWatermarkPercent  int   `yaml:"lowwatermarkpercent"`
}

func defaultPullthrough() Pullthrough {
	return Pullthrough{
		Upstream: UpstreamSection{
			DialTimeout: 3 * time.Second, TLSHandshakeTimeout: 5 * time.Second,
			ResponseHeaderTimeout: 10 * time.Second, StallTimeout: 30 * time.Second,
		},
		Storage: StorageSection{HighWatermarkPercent: 85, LowWatermarkPercent: 80},
	}
}

// parsePullthrough reads the section, and refuses fields that it does not have: a misspelled one would be silent.
func parsePullthrough(content []byte) (Pullthrough, error) {
	section := defaultPullthrough()
	var file struct {
		Pullthrough yaml.Node `yaml:"pullthrough"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil || file.Pullthrough.IsZero() {
		return section, err
	}
	alone, err := yaml.Marshal(&file.Pullthrough)
	if err != nil {
		return section, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(alone))
	decoder.KnownFields(true)
	if err := decoder.Decode(&section); err != nil && !errors.Is(err, io.EOF) {
		return section, fmt.Errorf("%w; accepted are revalidateafter, http.{cleartext, lameduck}, upstream.{dialtimeout, tlshandshaketimeout, responseheadertimeout, stalltimeout, cafile, "+
			"usernamefile, passwordfile} and storage.{maxsize, highwatermarkpercent, lowwatermarkpercent}", err)
	}
	return section, nil
}

func (p Pullthrough) check() error {
	const durations = "accepted are durations such as 3s"
	if p.RevalidateAfter < 0 {
		return fmt.Errorf("pullthrough.revalidateafter: %s is negative; %s, and 0s to ask on each pull", p.RevalidateAfter, durations)
	}
	if p.HTTP.Lameduck < 0 {
		return fmt.Errorf("pullthrough.http.lameduck: %s is negative; %s, and 0s to end at once", p.HTTP.Lameduck, durations)
	}
	for name, value := range map[string]time.Duration{
		"dialtimeout": p.Upstream.DialTimeout, "tlshandshaketimeout": p.Upstream.TLSHandshakeTimeout,
		"responseheadertimeout": p.Upstream.ResponseHeaderTimeout, "stalltimeout": p.Upstream.StallTimeout,
	} {
		if value <= 0 {
			return fmt.Errorf("pullthrough.upstream.%s: %s is no time; %s", name, value, durations)
		}
	}
	if (p.Upstream.UsernameFile == "") != (p.Upstream.PasswordFile == "") {
		return errors.New("pullthrough.upstream: one of usernamefile and passwordfile is missing; accepted are both or none")
	}
	return p.Storage.check()
}

func (s StorageSection) check() error {
	high, low := s.HighWatermarkPercent, s.LowWatermarkPercent
	switch {
	case s.MaxSize < 0:
		return fmt.Errorf("pullthrough.storage.maxsize: %d is negative; accepted are bytes, and 0 for the size of the volume", s.MaxSize)
	case high < 1 || high > 100:
		return fmt.Errorf("pullthrough.storage.highwatermarkpercent: %d is out of range; accepted are 1 to 100", high)
	case low < 0 || low >= high:
		return fmt.Errorf("pullthrough.storage.lowwatermarkpercent: %d is out of range; accepted are 0 to %d, less than highwatermarkpercent", low, high-1)
	}
	return nil
}

func (c *Config) storeOptions() store.Options {
	ttl := defaultTTL
	if c.Proxy.TTL != nil {
		ttl = max(0, *c.Proxy.TTL)
	}
	return store.Options{
		Root:          rootDirectory(c.Configuration),
		MaxSize:       c.Pullthrough.Storage.MaxSize,
		HighWatermark: c.Pullthrough.Storage.HighWatermarkPercent,
		LowWatermark:  c.Pullthrough.Storage.LowWatermarkPercent,
		TTL:           ttl,
	}
}

func (c *Config) upstreamOptions() (upstream.Options, error) {
	remote, err := url.Parse(c.Proxy.RemoteURL)
	if err != nil {
		return upstream.Options{}, err
	}
	section := c.Pullthrough.Upstream
	return upstream.Options{
		URL:                   remote,
		DialTimeout:           section.DialTimeout,
		TLSHandshakeTimeout:   section.TLSHandshakeTimeout,
		ResponseHeaderTimeout: section.ResponseHeaderTimeout,
		StallTimeout:          section.StallTimeout,
		CAFile:                section.CAFile,
		Credentials:           credentials(c.Proxy, section),
	}, nil
}

// credentials come from files, else as a stock registry has them.
func credentials(proxy configuration.Proxy, section UpstreamSection) upstream.CredentialSource {
	switch {
	case section.UsernameFile != "":
		return upstream.CredentialFiles(section.UsernameFile, section.PasswordFile)
	case proxy.Exec != nil:
		return upstream.CredentialHelper(proxy.Exec.Command, proxy.Exec.Lifetime)
	case proxy.Username != "" || proxy.Password != "":
		return upstream.StaticCredentials(proxy.Username, proxy.Password)
	default:
		return nil
	}
}
