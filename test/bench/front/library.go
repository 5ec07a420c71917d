package front

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Library is a registry of content that is added by the program; what it does not have is asked of Next. Blobs belong to
// all repositories. The zero value is empty, and answers everything with 404 without a Next.
type Library struct {
	Next http.Handler

	mu     sync.RWMutex
	blobs  map[string]Content
	others map[string]document
}

type document struct {
	mediaType string
	content   Content
}

// AddBlob makes a blob known to all repositories.
func (l *Library) AddBlob(blob Content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blobs == nil {
		l.blobs = map[string]Content{}
	}
	l.blobs[blob.Digest.String()] = blob
}

// AddManifest makes a manifest known by its digest and, unless that is empty, by a tag.
func (l *Library) AddManifest(repository, tag, mediaType string, manifest Content) {
	l.add("/v2/"+repository+"/manifests/"+manifest.Digest.String(), mediaType, manifest)
	if tag != "" {
		l.add("/v2/"+repository+"/manifests/"+tag, mediaType, manifest)
	}
}

// AddReferrers answers the referrers API for subject, a digest, with index.
func (l *Library) AddReferrers(repository, subject, mediaType string, index Content) {
	l.add("/v2/"+repository+"/referrers/"+subject, mediaType, index)
}

func (l *Library) add(path, mediaType string, content Content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.others == nil {
		l.others = map[string]document{}
	}
	l.others[path] = document{mediaType, content}
}

// ServeHTTP implements http.Handler.
func (l *Library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := l.find(r)
	switch {
	case ok:
		w.Header().Set("Content-Type", found.mediaType)
		w.Header().Set("Docker-Content-Digest", found.content.Digest.String())
		w.Header().Set("Etag", `"`+found.content.Digest.String()+`"`)
		http.ServeContent(w, r, "", time.Time{}, found.content.Reader())
	case l.Next != nil:
		l.Next.ServeHTTP(w, r)
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	default:
		http.NotFound(w, r)
	}
}

func (l *Library) find(r *http.Request) (document, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if found, ok := l.others[r.URL.Path]; ok {
		return found, true
	}
	if key := keyOf(r); key.Kind == Blob {
		blob, ok := l.blobs[key.Name]
		return document{"application/octet-stream", blob}, ok
	}
	return document{}, false
}

// Registry hands requests to the registry that listens on a Unix socket.
func Registry(socket string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: r.In.Host})
			r.Out.Host = r.In.Host
		},
		Transport:  SocketTransport(socket),
		BufferPool: buffers{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
}

// SocketTransport connects to a Unix socket, whatever host is asked for.
func SocketTransport(socket string) *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 256,
		DisableCompression:  true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
}

const bufferSize = 256 << 10

var free = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, bufferSize)) }}

// buffers are large, so that the front takes less of the machine from the caches.
type buffers struct{}

// Get implements httputil.BufferPool.
func (buffers) Get() []byte { return free.Get().(*bytes.Buffer).Bytes() }

// Put implements httputil.BufferPool.
func (buffers) Put(buffer []byte) { free.Put(bytes.NewBuffer(buffer)) }
