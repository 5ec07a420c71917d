package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
)

// highWatermark is the default of this project's cache: percent of the volume that it fills at most.
const highWatermark = 85

// stopPatience is what a cache has for ending; nothing worth waiting for is under way then.
const stopPatience = 3 * time.Second

// program is one of the two that are compared.
type program struct {
	name      string // in tables
	short     string // in paths
	path      string
	arguments []string
	port      int
	ours      bool
}

// cache is a program with a store, running or not.
type cache struct {
	program
	lab     *lab
	root    string // of the store
	log     string
	process *process
}

// newCache is a cache with a store of its own at root; it does not run yet. An empty root is a new directory.
func (l *lab) newCache(p program, root string) (*cache, error) {
	dir := filepath.Join(l.dir, fmt.Sprintf("%s-%d", p.short, l.caches.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making a cache's directory: %w", err)
	}
	if root == "" {
		root = filepath.Join(dir, "store")
	}
	c := &cache{program: p, lab: l, root: root, log: filepath.Join(dir, "log")}
	config, err := yaml.Marshal(c.configuration())
	if err != nil {
		return nil, fmt.Errorf("encoding a cache's configuration: %w", err)
	}
	return c, os.WriteFile(c.configPath(), config, 0o600)
}

func (c *cache) configPath() string { return filepath.Join(filepath.Dir(c.log), "config.yml") }

type section = map[string]any

// configuration is what templates/manifests renders, on other addresses.
func (c *cache) configuration() section {
	return section{
		"version": "0.1",
		"log":     section{"level": "info", "formatter": "json", "accesslog": section{"disabled": true}},
		"storage": section{
			"filesystem": section{"rootdirectory": c.root},
			"delete":     section{"enabled": true},
			"tag":        section{"concurrencylimit": 8},
		},
		"http": section{
			"addr": fmt.Sprintf("127.0.0.1:%d", c.port), "draintimeout": "2s",
			"headers": section{"X-Content-Type-Options": []string{"nosniff"}},
			"debug":   section{"addr": fmt.Sprintf("127.0.0.1:%d", c.port+1), "prometheus": section{"enabled": true}},
		},
		"health": section{"storagedriver": section{"enabled": true, "interval": "10s", "threshold": 3}},
		"proxy":  section{"remoteurl": fmt.Sprintf("http://%s:%d", upstreamAddress, cachePort), "ttl": "168h"},
	}
}

func (c *cache) url() string { return fmt.Sprintf("http://127.0.0.1:%d", c.port) }

// start runs the cache and waits until it serves; the duration is what that took, also if it failed.
func (c *cache) start(ctx context.Context, patience time.Duration) (time.Duration, error) {
	var err error
	if c.process, err = start(c.log, c.path, append(c.arguments, c.configPath())...); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	elapsed, err := c.process.ready(ctx, c.url()+"/v2/", &http.Transport{DisableKeepAlives: true})
	if err != nil {
		c.kill()
		return elapsed, fmt.Errorf("starting %s: %w", c.name, err)
	}
	return elapsed, nil
}

// stop ends the cache in an orderly way; the store stays.
func (c *cache) stop() {
	if c.process == nil {
		return
	}
	c.process.stop(stopPatience)
	c.ended()
}

// kill ends the cache as kill -9 does; the store stays.
func (c *cache) kill() {
	if c.process == nil {
		return
	}
	c.process.kill()
	c.ended()
}

func (c *cache) ended() {
	c.process = nil
	c.lab.report.noteCrashes(c)
}

// remove stops the cache and deletes its store.
func (c *cache) remove() {
	c.stop()
	if err := os.RemoveAll(c.root); err != nil {
		progress("removing a store: %v", err)
	}
}

var crash = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: .*|fatal error: .*)$|http: panic serving[^"]*`)

// noteCrashes turns data races and panics that a log tells of into broken bounds. A stock registry's are shown where
// they matter.
func (r *report) noteCrashes(c *cache) {
	if !c.ours {
		return
	}
	content, err := os.ReadFile(c.log)
	if err != nil {
		return
	}
	for _, line := range crash.FindAllString(string(content), -1) {
		what := fmt.Sprintf("no data race and no panic; its log says %q", line)
		if !r.isBroken(what) {
			r.bound(false, "%s", what)
			progress("%s\n%s", c.name, content)
		}
	}
}

// pull takes an image through the cache with a client of its own.
func (c *cache) pull(ctx context.Context, i image, verify bool) (client.Pulled, error) {
	node := client.New(c.url())
	defer node.Close()
	return node.Pull(ctx, i.repository, i.tag, verify)
}

// get asks the cache for one path with a client of its own.
func (c *cache) get(ctx context.Context, path string, expect client.Expect) client.Answer {
	node := client.New(c.url())
	defer node.Close()
	return node.Get(ctx, path, expect)
}
