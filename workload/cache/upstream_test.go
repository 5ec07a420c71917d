package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // where the upstream keeps its images
	. "github.com/onsi/gomega"
)

const (
	repository   = "library/app"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// upstream is a registry on loopback that remembers what it was asked for.
type upstream struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
	ranged   []string
	fault    fault
	// hold, if set before the first pull, stops each blob answer in its middle until it is closed.
	hold, held chan struct{}
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	app := handlers.NewApp(ctx, &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": configuration.Parameters{}},
	})
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := u.record(r); f != nil && f(w, r, app) {
			return
		}
		if u.hold != nil && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &holdingWriter{ResponseWriter: w, upstream: u}
		}
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) record(r *http.Request) fault {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, r.Method+" "+r.URL.Path)
	if value := r.Header.Get("Range"); value != "" {
		u.ranged = append(u.ranged, value)
	}
	return u.fault
}

func (u *upstream) setFault(f fault) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fault = f
}

// asked returns method and path of each request.
func (u *upstream) asked() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

// ranges returns the header Range of each request that had one.
func (u *upstream) ranges() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.ranged)
}

// count returns how often method and path, as asked has them, were asked.
func (u *upstream) count(request string) int {
	count := 0
	for _, asked := range u.asked() {
		if asked == request {
			count++
		}
	}
	return count
}

// blobRequests counts GET and HEAD requests for blobs.
func (u *upstream) blobRequests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	count := 0
	for _, request := range u.requests {
		isRead := strings.HasPrefix(request, "GET ") || strings.HasPrefix(request, "HEAD ")
		if isRead && strings.Contains(request, "/blobs/sha256:") {
			count++
		}
	}
	return count
}

// holdingWriter passes on half of the first write, tells so, and waits.
type holdingWriter struct {
	http.ResponseWriter
	upstream *upstream
	once     sync.Once
}

// Write implements http.ResponseWriter.
func (w *holdingWriter) Write(p []byte) (int, error) {
	first := 0
	w.once.Do(func() {
		first, _ = w.ResponseWriter.Write(p[:len(p)/2])
		w.ResponseWriter.(http.Flusher).Flush()
		w.upstream.mu.Lock()
		select {
		case <-w.upstream.held:
		default:
			close(w.upstream.held)
		}
		w.upstream.mu.Unlock()
		<-w.upstream.hold
	})
	n, err := w.ResponseWriter.Write(p[first:])
	return first + n, err
}

// image is what push stored at the upstream.
type image struct {
	manifest, manifestDigest string
	layer, layerDigest       string
	config, configDigest     string
}

func (u *upstream) push(t *testing.T, tag string) image {
	t.Helper()
	img := image{layer: strings.Repeat("layer of "+tag+"\n", 100_000), config: `{"architecture":"amd64","os":"linux"}`}
	img.layerDigest, img.configDigest = u.pushBlob(t, img.layer), u.pushBlob(t, img.config)
	img.manifest = manifestJSON(t, img)
	img.manifestDigest = digest(img.manifest)
	response := send(t, http.MethodPut, u.URL+"/v2/"+repository+"/manifests/"+tag, img.manifest, manifestType)
	NewWithT(t).Expect(response.status).To(Equal(http.StatusCreated), response.body)
	return img
}

func manifestJSON(t *testing.T, img image) string {
	t.Helper()
	descriptor := func(mediaType, content string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digest(content), "size": len(content)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        descriptor("application/vnd.oci.image.config.v1+json", img.config),
		"layers":        []any{descriptor("application/vnd.oci.image.layer.v1.tar", img.layer)},
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(manifest)
}

func (u *upstream) pushBlob(t *testing.T, content string) string {
	t.Helper()
	g := NewWithT(t)
	started := send(t, http.MethodPost, u.URL+"/v2/"+repository+"/blobs/uploads/", "", "")
	g.Expect(started.status).To(Equal(http.StatusAccepted), started.body)
	location, err := url.Parse(started.header.Get("Location"))
	g.Expect(err).NotTo(HaveOccurred())
	query := location.Query()
	query.Set("digest", digest(content))
	location.RawQuery = query.Encode()
	stored := send(t, http.MethodPut, location.String(), content, "application/octet-stream")
	g.Expect(stored.status).To(Equal(http.StatusCreated), stored.body)
	return digest(content)
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, address string) answer {
	t.Helper()
	return send(t, http.MethodGet, address, "", "")
}

func send(t *testing.T, method, address, body, contentType string) answer {
	t.Helper()
	result, err := try(method, address, body, contentType)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return result
}

func try(method, address, body, contentType string) (answer, error) {
	request, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Accept", manifestType)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content := &bytes.Buffer{}
	if _, err := content.ReadFrom(response.Body); err != nil {
		return answer{}, fmt.Errorf("reading the body: %w", err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: content.String()}, nil
}
