package cache_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/sirupsen/logrus"
	yaml "go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

// configVariable makes the test binary serve a cache instead of running tests: distribution keeps metrics and health
// checks in globals, so each cache needs a process.
const configVariable = "SERVE_CACHE_CONFIG"

func TestMain(m *testing.M) {
	serve, path := serveCache, os.Getenv(configVariable)
	if stock := os.Getenv(stockVariable); stock != "" {
		serve, path = serveStock, stock
	}
	if path == "" {
		logrus.SetLevel(logrus.PanicLevel) // of the upstreams, which are registries in this process
		os.Exit(m.Run())
	}
	if err := serve(path); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func serveCache(path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config, err := cache.Load(path)
	if err != nil {
		return err
	}
	return cache.Run(ctx, config, os.Getenv(cache.UpstreamVariable))
}

// process is a cache that serves on loopback.
type process struct {
	command              *exec.Cmd
	registry, debug, dir string
	mu                   sync.Mutex
	log                  strings.Builder
	logged               chan struct{}
}

// settings are the values of the configuration that tests change.
type settings struct {
	remoteURL, ttl    string
	revalidateAfter   string
	upstream, storage map[string]any // sections of pullthrough
	tls               map[string]any // section of http
	cleartext         bool
	lameduck          string
}

func writeConfig(t *testing.T, dir string, s settings) string {
	t.Helper()
	config := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"formatter": "json", "fields": map[string]any{"upstream": "example.com"}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": filepath.Join(dir, "store")},
			"delete":     map[string]any{"enabled": true},
		},
		"http": map[string]any{
			"addr":         "127.0.0.1:0",
			"draintimeout": "20s",
			"debug":        map[string]any{"addr": "127.0.0.1:0", "prometheus": map[string]any{"enabled": true}},
		},
		"health": map[string]any{"storagedriver": map[string]any{"enabled": true, "interval": "10s", "threshold": 3}},
		"proxy":  map[string]any{"remoteurl": s.remoteURL, "ttl": cmp.Or(s.ttl, "168h")},
		"pullthrough": map[string]any{
			"revalidateafter": cmp.Or(s.revalidateAfter, "0s"), "upstream": s.upstream, "storage": s.storage,
			"http": map[string]any{"cleartext": s.cleartext, "lameduck": cmp.Or(s.lameduck, "0s")},
		},
	}
	if s.tls != nil {
		config["http"].(map[string]any)["tls"] = s.tls
	}
	content, err := yaml.Marshal(config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(dir, "config.yml")
	NewWithT(t).Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	return path
}

func startCache(t *testing.T, s settings) *process {
	t.Helper()
	dir := t.TempDir()
	return startWith(t, dir, writeConfig(t, dir, s))
}

func startWith(t *testing.T, dir, config string, env ...string) *process {
	t.Helper()
	g := NewWithT(t)
	p := &process{dir: dir, logged: make(chan struct{}), command: exec.Command(os.Args[0])}
	p.command.Env = append(append(os.Environ(), configVariable+"="+config), env...)
	pipe, err := p.command.StderrPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.command.Start()).To(Succeed())
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		<-p.logged
		_ = p.command.Wait()
	})
	go p.readLog(pipe)

	g.Eventually(func() string { return p.address("debug") }, "20s").ShouldNot(BeEmpty(), p.output)
	g.Eventually(func() string { return p.address("registry") }, "20s").ShouldNot(BeEmpty(), p.output)
	p.debug, p.registry = "http://"+p.address("debug"), "http://"+p.address("registry")
	return p
}

func (p *process) readLog(pipe io.Reader) {
	defer close(p.logged)
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

var listening = regexp.MustCompile(`address[":=]+([0-9.:]+)"? .*server="?(\w+)|"address":"([0-9.:]+)".*"server":"(\w+)"`)

// address is where the named server listens, as the log says.
func (p *process) address(server string) string {
	for _, match := range listening.FindAllStringSubmatch(p.output(), -1) {
		if match[2]+match[4] == server {
			return match[1] + match[3]
		}
	}
	return ""
}

// restart kills the cache, as a node does that loses power, and starts it again on the same store.
func (p *process) restart(t *testing.T) {
	t.Helper()
	_ = p.command.Process.Kill()
	<-p.logged
	_ = p.command.Wait()
	*p = *startWith(t, p.dir, filepath.Join(p.dir, "config.yml"))
}

// limitFileSize makes writes beyond that many bytes of a file fail, as a full disk does.
func (p *process) limitFileSize(t *testing.T, bytes uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	NewWithT(t).Expect(unix.Prlimit(p.command.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil)).To(Succeed())
}

// terminate sends SIGTERM; the returned function waits for the end and returns the exit code.
func (p *process) terminate(t *testing.T) (wait func() int) {
	t.Helper()
	NewWithT(t).Expect(p.command.Process.Signal(syscall.SIGTERM)).To(Succeed())
	return func() int {
		<-p.logged
		_ = p.command.Wait()
		return p.command.ProcessState.ExitCode()
	}
}
