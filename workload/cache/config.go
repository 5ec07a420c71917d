package cache

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	storageDriver        = "filesystem"
	defaultRootDirectory = "/var/lib/registry"
	defaultDrainTimeout  = 25 * time.Second
)

// Config is what a cache runs with: distribution's configuration, and what the section pullthrough of the same file says.
type Config struct {
	*configuration.Configuration
	Pullthrough Pullthrough
}

// Load reads the configuration file at path, applies REGISTRY_ variables as distribution does, and checks what a
// cache needs. Each error names the field, its value and what is accepted.
func Load(path string) (*Config, error) {
	content, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	config := &Config{}
	if config.Configuration, err = parse(content); err != nil {
		return nil, fmt.Errorf("parsing %s: %w; accepted is a configuration file of distribution, version 0.1", path, err)
	}
	if config.Pullthrough, err = parsePullthrough(content); err != nil {
		return nil, fmt.Errorf("parsing pullthrough in %s: %w", path, err)
	}
	if err := check(config.Configuration); err != nil {
		return nil, fmt.Errorf("checking %s: %w", path, err)
	}
	if err := config.Pullthrough.check(); err != nil {
		return nil, fmt.Errorf("checking %s: %w", path, err)
	}
	setDefaults(config.Configuration)
	return config, nil
}

// parse turns the panic with which distribution answers two storage drivers, one from a variable, into an error.
func parse(content []byte) (config *configuration.Configuration, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%v", reason)
		}
	}()
	return configuration.Parse(bytes.NewReader(content))
}

func check(config *configuration.Configuration) error {
	checks := []func(*configuration.Configuration) error{
		checkProxy, checkStorage, checkHTTP, checkTLS, checkAuth, checkLog,
	}
	for _, check := range checks {
		if err := check(config); err != nil {
			return err
		}
	}
	return nil
}

func checkProxy(config *configuration.Configuration) error {
	remote := config.Proxy.RemoteURL
	const accepted = "accepted are http:// or https://, a host and an optional port, such as https://registry-1.docker.io"
	if remote == "" {
		return fmt.Errorf("proxy.remoteurl is not set; %s", accepted)
	}
	u, err := url.Parse(remote)
	if err != nil {
		return fmt.Errorf("proxy.remoteurl: %q is not a URL; %s", withoutUser(remote), accepted)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || bare.String() != remote {
		return fmt.Errorf("proxy.remoteurl: %q is not the URL of a registry; %s", withoutUser(remote), accepted)
	}
	return nil
}

// withoutUser keeps user info, which may hold a password, out of messages.
func withoutUser(raw string) string {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		scheme, rest = "", raw
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return raw
	}
	if scheme != "" {
		scheme += "://"
	}
	return scheme + "…" + rest[at:]
}

func checkStorage(config *configuration.Configuration) error {
	if driver := config.Storage.Type(); driver != storageDriver {
		return fmt.Errorf("storage: %q is not a driver of this cache; accepted is %s", driver, storageDriver)
	}
	root := rootDirectory(config)
	const accepted = "accepted is a directory that this process may write to"
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("storage.filesystem.rootdirectory: %q: %w; %s", root, err, accepted)
	}
	if err := unix.Access(root, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("storage.filesystem.rootdirectory: %q is not writable: %w; %s", root, err, accepted)
	}
	return nil
}

func rootDirectory(config *configuration.Configuration) string {
	if value, ok := config.Storage.Parameters()["rootdirectory"]; ok {
		return fmt.Sprint(value)
	}
	return defaultRootDirectory
}

func checkHTTP(config *configuration.Configuration) error {
	if prefix := config.HTTP.Prefix; prefix != "" && prefix != "/" {
		return fmt.Errorf("http.prefix: %q is not supported by this cache; accepted is none", prefix)
	}
	if config.HTTP.Net != "unix" {
		if err := checkAddr("http.addr", config.HTTP.Addr); err != nil {
			return err
		}
	}
	if config.HTTP.Debug.Addr != "" {
		if err := checkAddr("http.debug.addr", config.HTTP.Debug.Addr); err != nil {
			return err
		}
	}
	if config.HTTP.DrainTimeout < 0 {
		return fmt.Errorf("http.draintimeout: %s is negative; accepted are durations such as 25s", config.HTTP.DrainTimeout)
	}
	return nil
}

func checkAddr(field, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: %q is not [host]:port; accepted are values such as :5000 or 127.0.0.1:5000", field, addr)
	}
	return nil
}

func checkAuth(config *configuration.Configuration) error {
	if kind := config.Auth.Type(); kind != "" && !strings.EqualFold(kind, "none") {
		return fmt.Errorf("auth: %q is not supported by this cache; accepted is no auth section", kind)
	}
	return nil
}

func checkLog(config *configuration.Configuration) error {
	if _, ok := formatters[config.Log.Formatter]; !ok {
		return fmt.Errorf("log.formatter: %q is unknown; accepted are text, json and logstash", config.Log.Formatter)
	}
	return nil
}

// setDefaults drops what must not be used and fills what must be set.
func setDefaults(config *configuration.Configuration) {
	if _, ok := config.Storage["cache"]; ok {
		logrus.Warn("storage.cache is ignored: it would answer for layers that have expired")
		delete(config.Storage, "cache")
	}
	if config.HTTP.DrainTimeout == 0 {
		config.HTTP.DrainTimeout = defaultDrainTimeout
	}
}
