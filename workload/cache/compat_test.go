package cache_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	. "github.com/onsi/gomega"
	yaml "go.yaml.in/yaml/v3"
)

// stockVariable makes the test binary serve a stock registry of the linked version of distribution.
const stockVariable = "SERVE_STOCK_CONFIG"

func serveStock(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	config, err := configuration.Parse(file)
	if err != nil {
		return err
	}
	stock, err := registry.NewRegistry(context.Background(), config)
	if err != nil {
		return err
	}
	return stock.ListenAndServe()
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// startStock starts a stock registry on the same configuration, and so the same store.
func startStock(t *testing.T, config, address string) (stop func()) {
	t.Helper()
	g := NewWithT(t)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), stockVariable+"="+config, "REGISTRY_HTTP_ADDR="+address, "OTEL_TRACES_EXPORTER=none", "REGISTRY_LOG_ACCESSLOG_DISABLED=true")
	g.Expect(command.Start()).To(Succeed())
	stop = func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	g.Eventually(func() error {
		_, err := try(http.MethodGet, "http://"+address+"/v2/", "", "")
		return err
	}, "20s").Should(Succeed())
	return stop
}

func TestAStockRegistryServesOurStoreAndWeServeItsStore(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	ours, stocks := up.push(t, "v1"), up.push(t, "v2")
	p := startCache(t, settings{remoteURL: up.URL})
	pull(t, p.registry, "v1", ours)
	g.Expect(p.terminate(t)()).To(Equal(0))
	before := up.blobRequests()

	address := freeAddress(t)
	stop := startStock(t, filepath.Join(p.dir, "config.yml"), address)
	pull(t, "http://"+address, "v1", ours)
	g.Expect(up.blobRequests()).To(Equal(before), "all is in our store")
	pull(t, "http://"+address, "v2", stocks)
	stop()

	up.Close()
	p.restart(t)
	pull(t, p.registry, "v1", ours)
	pull(t, p.registry, "v2", stocks)
}

// TestWhatIsRenderedForACacheIsServedByUsAndByAStockRegistry runs the golden configurations of templates/manifests as they are, but
// for places and addresses, which a test has to choose, certificates, which it has none of, and the time to
// leave.
func TestWhatIsRenderedForACacheIsServedByUsAndByAStockRegistry(t *testing.T) {
	rendered, err := filepath.Glob("../../templates/manifests/testdata/*.config.yml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(rendered).NotTo(BeEmpty())
	for _, config := range rendered {
		t.Run(filepath.Base(config), func(t *testing.T) {
			up := newUpstream(t)
			ours, stocks, dir := up.push(t, "v1"), up.push(t, "v2"), t.TempDir()
			t.Setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", dir)
			t.Setenv("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
			t.Setenv("REGISTRY_HTTP_DEBUG_ADDR", "127.0.0.1:0")
			t.Setenv("REGISTRY_PROXY_REMOTEURL", up.URL)
			config := quick(t, config, dir)
			p := startWith(t, dir, config)
			pull(t, p.registry, "v1", ours)
			NewWithT(t).Expect(p.terminate(t)()).To(Equal(0))

			address := freeAddress(t)
			stop := startStock(t, config, address)
			defer stop()
			pull(t, "http://"+address, "v1", ours)
			pull(t, "http://"+address, "v2", stocks)
		})
	}
}

// quick copies a configuration, without certificates and without time to leave.
func quick(t *testing.T, path, dir string) string {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(filepath.Clean(path))
	g.Expect(err).NotTo(HaveOccurred())
	config := map[string]any{}
	g.Expect(yaml.Unmarshal(content, &config)).To(Succeed())
	g.Expect(config).To(HaveKey("http"))
	delete(config["http"].(map[string]any), "tls")
	delete(config["pullthrough"].(map[string]any)["http"].(map[string]any), "lameduck")
	content, err = yaml.Marshal(config)
	g.Expect(err).NotTo(HaveOccurred())
	copied := filepath.Join(dir, "rendered.yml")
	g.Expect(os.WriteFile(copied, content, 0o600)).To(Succeed())
	return copied
}
