package cache_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	metricsdoc "github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/test/promtool"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

func manifestURL(registry, reference string) string {
	return registry + "/v2/" + repository + "/manifests/" + reference
}

func blobURL(registry, digest string) string {
	return registry + "/v2/" + repository + "/blobs/" + digest
}

// pull gets everything of an image, as a node does, and checks each byte.
func pull(t *testing.T, registry, tag string, img image) {
	t.Helper()
	g := NewWithT(t)
	wanted := map[string]string{
		manifestURL(registry, tag):                img.manifest,
		manifestURL(registry, img.manifestDigest): img.manifest,
		blobURL(registry, img.configDigest):       img.config,
		blobURL(registry, img.layerDigest):        img.layer,
	}
	for address, content := range wanted {
		response := get(t, address)
		g.Expect(response.status).To(Equal(http.StatusOK), address)
		g.Expect(digest(response.body)).To(Equal(digest(content)), address)
	}
}

func TestASecondPullAsksTheUpstreamForNoBlob(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, ttl: "168h"})
	before := up.blobRequests()

	pull(t, p.registry, "v1", img)
	first := up.blobRequests()
	g.Expect(first).To(BeNumerically(">", before), "the first pull must ask the upstream")

	pull(t, p.registry, "v1", img)
	g.Expect(up.blobRequests()).To(Equal(first))
}

func TestWhatIsCachedIsServedWhileTheUpstreamIsDown(t *testing.T) {
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, ttl: "168h"})
	pull(t, p.registry, "v1", img)

	up.Close()

	pull(t, p.registry, "v1", img)
	absent := get(t, manifestURL(p.registry, "v2"))
	NewWithT(t).Expect(absent.status).To(BeNumerically(">=", http.StatusBadRequest), "containerd goes on to the next host")
}

func TestARequestThatNamesAnotherUpstreamIsRefused(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	dir := t.TempDir()
	config := writeConfig(t, dir, settings{remoteURL: up.URL, ttl: "168h"})
	p := startWith(t, dir, config, cache.UpstreamVariable+"=registry.example.com:5000")
	for query, status := range map[string]int{
		"":                                http.StatusOK,
		"?ns=registry.example.com%3A5000": http.StatusOK,
		"?ns=docker.io":                   http.StatusNotFound,
		"?ns=registry.example.com":        http.StatusNotFound,
	} {
		g.Expect(get(t, p.registry+"/v2/"+query).status).To(Equal(status), query)
		g.Expect(get(t, manifestURL(p.registry, "v1")+query).status).To(Equal(status), query)
		g.Expect(get(t, blobURL(p.registry, img.layerDigest)+query).status).To(Equal(status), query)
	}
}

func TestTheDebugServerAnswersHealthAndMetrics(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, ttl: "168h"})
	pull(t, p.registry, "v1", img)
	pull(t, p.registry, "v1", img)

	g.Expect(get(t, p.debug+"/debug/health").status).To(Equal(http.StatusOK))
	g.Expect(get(t, p.registry+"/v2/").status).To(Equal(http.StatusOK))
	g.Expect(get(t, p.registry+"/").status).To(Equal(http.StatusOK))
	metrics := get(t, p.debug+"/metrics").body
	for _, line := range []string{
		`registry_proxy_requests_total{type="blob"} 4`,
		`registry_proxy_hits_total{type="blob"} 2`,
		`registry_proxy_misses_total{type="blob"} 2`,
		`registry_proxy_hits_total{type="manifest"} 3`,
		`registry_proxy_misses_total{type="manifest"} 1`,
		`registry_proxy_pulled_bytes_total{type="blob"}`,
		`registry_proxy_pushed_bytes_total{type="blob"}`,
		"\nprocess_start_time_seconds ", // alerts ask when the process began
	} {
		g.Expect(metrics).To(ContainSubstring(line))
	}
	g.Expect(metricsdoc.Compare("../..", metricsdoc.Cache, []byte(metrics))).To(BeEmpty())
	g.Expect(promtool.CheckMetrics(t.Context(), []byte(metrics))).To(Succeed())
	g.Expect(get(t, p.debug+"/debug/pprof/heap").status).To(Equal(http.StatusNotFound))
	g.Expect(p.output()).To(ContainSubstring(`"upstream":"example.com"`), "log.fields are in the log")
}

func TestTerminationFinishesOpenTransfersAndWritesTheExpiryState(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	up.hold, up.held = make(chan struct{}), make(chan struct{})
	p := startCache(t, settings{remoteURL: up.URL, ttl: "168h"})

	type result struct {
		answer answer
		err    error
	}
	transfer := make(chan result, 1)
	go func() {
		a, err := try(http.MethodGet, blobURL(p.registry, img.layerDigest), "", "")
		transfer <- result{a, err}
	}()
	g.Eventually(up.held, "10s").Should(BeClosed())

	wait := p.terminate(t)
	g.Eventually(p.output, "10s").Should(ContainSubstring("draining connections"))
	g.Eventually(func() error {
		_, err := try(http.MethodGet, p.registry+"/v2/", "", "")
		return err
	}, "10s").Should(HaveOccurred(), "no new connection while draining")
	g.Expect(get(t, p.debug+"/debug/health").status).To(Equal(http.StatusOK), "alive while draining")
	close(up.hold)

	finished := <-transfer
	g.Expect(finished.err).NotTo(HaveOccurred())
	g.Expect(digest(finished.answer.body)).To(Equal(img.layerDigest))
	g.Expect(wait()).To(Equal(0), p.output())
	state, err := os.ReadFile(filepath.Join(p.dir, "store", "scheduler-state.json"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(state)).To(ContainSubstring(img.layerDigest))
}

func TestACacheTellsThoseThatProbeItBeforeItEnds(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, ttl: "168h", lameduck: "3s"})
	wait := p.terminate(t)
	g.Eventually(func() int { return get(t, p.registry+"/v2/").status }, "2s", "20ms").Should(Equal(http.StatusServiceUnavailable))
	pull(t, p.registry, "v1", img)
	g.Expect(wait()).To(Equal(0), p.output())
}

func TestARestartServesTheStoreThatIsThere(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	first := startCache(t, settings{remoteURL: up.URL, ttl: "0s"})
	pull(t, first.registry, "v1", img)
	g.Expect(first.terminate(t)()).To(Equal(0))
	blobs := up.blobRequests()

	second := startWith(t, first.dir, filepath.Join(first.dir, "config.yml"))
	pull(t, second.registry, "v1", img)
	g.Expect(up.blobRequests()).To(Equal(blobs))
}

// stockConfig is the file that the image of the linked version of distribution starts with.
func stockConfig(t *testing.T) string {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/distribution/distribution/v3").Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return filepath.Join(strings.TrimSpace(string(module)), "cmd", "registry", "config-dev.yml")
}

func TestTheConfigurationFileOfTheStockImageWorks(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	dir := t.TempDir()

	p := startWith(t, dir, stockConfig(t),
		"REGISTRY_PROXY_REMOTEURL="+up.URL,
		"REGISTRY_HTTP_ADDR=127.0.0.1:0",
		"REGISTRY_HTTP_DEBUG_ADDR=127.0.0.1:0",
		"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="+filepath.Join(dir, "store"),
	)
	pull(t, p.registry, "v1", img)
	g.Expect(get(t, p.registry+"/v2/").header.Get("X-Content-Type-Options")).To(Equal("nosniff"))
	g.Expect(get(t, p.debug+"/metrics").body).To(ContainSubstring("registry_proxy_requests_total"))
	g.Expect(p.output()).To(ContainSubstring("storage.cache is ignored"))
}
