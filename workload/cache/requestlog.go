package cache

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/pull"
)

// exchange is a request and what is known of its answer.
type exchange struct {
	request *http.Request
	began   time.Time
	status  int
	bytes   int64
	first   time.Duration // to the first byte of the body; 0: there was none
}

// logged writes a line for each request and counts pulls. It leaves the response writer able to use sendfile.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &exchange{request: r, began: time.Now(), status: http.StatusOK}
		defer func() {
			reason := recover()
			e.log(w.Header().Get(pull.SourceHeader), reason != nil)
			e.count(w.Header().Get(pull.SourceHeader))
			if reason != nil {
				panic(reason) //nolint:forbidigo // on to net/http
			}
		}()
		next.ServeHTTP(httpsnoop.Wrap(w, e.hooks()), r)
	})
}

func (e *exchange) hooks() httpsnoop.Hooks {
	return httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) {
				e.status = status
				next(status)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) {
				e.body()
				n, err := next(p)
				e.bytes += int64(n)
				return n, err
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(source io.Reader) (int64, error) {
				e.body()
				n, err := next(source)
				e.bytes += n
				return n, err
			}
		},
	}
}

func (e *exchange) body() {
	if e.first == 0 {
		e.first = time.Since(e.began)
	}
}

// log leaves the query out, which a client may have put anything into.
func (e *exchange) log(source string, aborted bool) {
	level := logrus.InfoLevel
	if isProbe(e.request.URL.Path) && e.status == http.StatusOK {
		level = logrus.DebugLevel
	}
	if !logrus.IsLevelEnabled(level) {
		return
	}
	fields := logrus.Fields{
		"method":   e.request.Method,
		"path":     e.request.URL.Path,
		"status":   e.status,
		"bytes":    e.bytes,
		"duration": time.Since(e.began).Seconds(),
		"remote":   e.request.RemoteAddr,
		"agent":    e.request.UserAgent(),
	}
	if source != "" {
		fields["source"] = source
	}
	if aborted {
		fields["aborted"] = true
	}
	logrus.WithFields(fields).Log(level, "request")
}

func isProbe(path string) bool { return path == "/" || path == "/v2/" }

// count adds to the counters that a stock registry has, and to ours.
func (e *exchange) count(source string) {
	kind := kindOf(e.request.URL.Path)
	if kind == "" || source == "" || e.status >= http.StatusBadRequest {
		return
	}
	metrics.Requests.WithLabelValues(kind).Inc()
	metrics.PushedBytes.WithLabelValues(kind).Add(float64(e.bytes))
	if e.first > 0 {
		metrics.FirstByte.WithLabelValues(kind, source).Observe(e.first.Seconds())
	}
	switch source {
	case pull.Hit, pull.Stale:
		metrics.Hits.WithLabelValues(kind).Inc()
	case pull.Coalesced:
		metrics.Coalesced.WithLabelValues(kind).Inc()
	default:
		metrics.Misses.WithLabelValues(kind).Inc()
	}
}

func kindOf(path string) string {
	switch {
	case strings.Contains(path, "/blobs/"):
		return metrics.Blob
	case strings.Contains(path, "/manifests/"):
		return metrics.Manifest
	default:
		return ""
	}
}
