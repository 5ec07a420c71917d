package manifests

import (
	"time"

	yaml "go.yaml.in/yaml/v3"
)

const (
	configVersion = "0.1"

	// drainTimeout and lameduck are shorter than the Pod's grace period, so that the state is written before the kubelet kills.
	drainTimeout       = 20 * time.Second
	gracePeriodSeconds = 30

	healthInterval  = 10 * time.Second
	healthThreshold = 3

	// tagConcurrency bounds the files that listing tags reads at a time.
	tagConcurrency = 5
)

// registryConfig is the part of distribution's configuration file, version 0.1, that a cache uses
// (https://distribution.github.io/distribution/about/configuration). Durations are written with their unit: a bare
// number would be nanoseconds.
//
// There is no storage.cache: a descriptor in it outlives a shared layer that expired (distribution#2367). There is no
// storage.maintenance: its default removes what broken downloads left behind.
type registryConfig struct {
	Version string        `yaml:"version"`
	Log     logConfig     `yaml:"log"`
	Storage storageConfig `yaml:"storage"`
	HTTP    httpConfig    `yaml:"http"`
	Health  healthConfig  `yaml:"health"`
	Proxy   proxyConfig   `yaml:"proxy"`

	Pullthrough pullthroughConfig `yaml:"pullthrough"`
}

type logConfig struct {
	Level     string            `yaml:"level"`
	Formatter string            `yaml:"formatter"`
	AccessLog disabledConfig    `yaml:"accesslog"`
	Fields    map[string]string `yaml:"fields"`
}

type disabledConfig struct {
	Disabled bool `yaml:"disabled"`
}

type enabledConfig struct {
	Enabled bool `yaml:"enabled"`
}

type storageConfig struct {
	Filesystem filesystemConfig `yaml:"filesystem"`
	Delete     enabledConfig    `yaml:"delete"`
	Tag        tagConfig        `yaml:"tag"`
}

type filesystemConfig struct {
	RootDirectory string `yaml:"rootdirectory"`
}

type tagConfig struct {
	ConcurrencyLimit int `yaml:"concurrencylimit"`
}

type httpConfig struct {
	Addr         string              `yaml:"addr"`
	DrainTimeout string              `yaml:"draintimeout"`
	TLS          *tlsConfig          `yaml:"tls,omitempty"`
	Headers      map[string][]string `yaml:"headers"`
	Debug        debugConfig         `yaml:"debug"`
}

type debugConfig struct {
	Addr       string        `yaml:"addr"`
	Prometheus enabledConfig `yaml:"prometheus"`
}

type healthConfig struct {
	StorageDriver storageHealthConfig `yaml:"storagedriver"`
}

type storageHealthConfig struct {
	Enabled   bool   `yaml:"enabled"`
	Interval  string `yaml:"interval"`
	Threshold int    `yaml:"threshold"`
}

type proxyConfig struct {
	RemoteURL string `yaml:"remoteurl"`
	TTL       string `yaml:"ttl"`
}

// configFile renders the configuration of a cache. The access log is off: distribution's own log has a line for each
// request already.
func configFile(v Values) ([]byte, error) {
	return yaml.Marshal(registryConfig{
		Version: configVersion,
		Log: logConfig{
			Level:     "info",
			Formatter: "json",
			AccessLog: disabledConfig{Disabled: true},
			Fields:    map[string]string{"upstream": v.Upstream},
		},
		Storage: storageConfig{
			Filesystem: filesystemConfig{RootDirectory: storePath},
			Delete:     enabledConfig{Enabled: true},
			Tag:        tagConfig{ConcurrencyLimit: tagConcurrency},
		},
		HTTP: httpConfig{
			Addr:         portAddr(RegistryPort),
			DrainTimeout: drainTimeout.String(),
			TLS:          tlsSection(v),
			Headers:      map[string][]string{"X-Content-Type-Options": {"nosniff"}},
			Debug:        debugConfig{Addr: portAddr(DebugPort), Prometheus: enabledConfig{Enabled: true}},
		},
		Health: healthConfig{StorageDriver: storageHealthConfig{
			Enabled: true, Interval: healthInterval.String(), Threshold: healthThreshold,
		}},
		Proxy:       proxyConfig{RemoteURL: v.RemoteURL, TTL: v.TTL.String()},
		Pullthrough: pullthrough(v),
	})
}
