package cache

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// FuzzRequest sends anything to the handler of a cache whose upstream is down, and whose store has one blob.
func FuzzRequest(f *testing.F) {
	known := digest.FromString("content").String()
	for _, path := range []string{
		"/", "/v2", "/v2/", "/v2/_catalog", "/v2/a/tags/list?n=1", "/v2/a/b/manifests/v1", "/v2/a/manifests/" + known, "/v2/a/blobs/" + known,
		"/v2/a/blobs/sha512:00", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "/v2/../blobs/" + known, "/v2/a/blobs/uploads/", "/v2/a//blobs/" + known,
		"/v2/a/referrers/" + known, "/v2/%2e%2e/%2e%2e/blobs/" + known, "/v2/a/blobs/" + known + "?ns=docker.io", "/v2/a/manifests/..", "/v2/blobs/blobs/blobs/" + known,
	} {
		f.Add(http.MethodGet, path, "bytes=1-2", "")
		f.Add(http.MethodHead, path, "", `"`+known+`"`)
		f.Add(http.MethodPut, path, "bytes=-", "*")
	}
	served := fuzzed(f)
	f.Fuzz(func(t *testing.T, method, target, ranged, match string) {
		uri, err := url.ParseRequestURI(target)
		if err != nil || method == "" {
			return
		}
		request := &http.Request{Method: method, URL: uri, Host: "cache", Header: http.Header{"Range": {ranged}, "If-None-Match": {match}}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"}
		answer := httptest.NewRecorder()
		served.ServeHTTP(answer, request.WithContext(t.Context()))
		accepted := []int{200, 206, 301, 304, 307, 308, 400, 403, 404, 405, 416, 503}
		if !slices.Contains(accepted, answer.Code) {
			t.Errorf("%s %q: %d %s", method, target, answer.Code, answer.Body)
		}
		if answer.Code == http.StatusOK && answer.Header().Get("X-Cache") == "hit" && method == http.MethodGet && answer.Body.String() != "content" {
			t.Errorf("%s %q: %q", method, target, answer.Body)
		}
	})
}

func fuzzed(f *testing.F) http.Handler {
	dir := f.TempDir()
	logrus.SetLevel(logrus.PanicLevel)
	path := filepath.Join(dir, "config.yml")
	content := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + dir + "/store}}\nhttp: {addr: ':0'}\nproxy: {remoteurl: 'http://127.0.0.1:1'}\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		f.Fatal(err)
	}
	config, err := Load(path)
	if err != nil {
		f.Fatal(err)
	}
	e, err := start(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = e.stop(0) })
	if err := e.stored.Put(digest.FromString("content"), []byte("content")); err != nil {
		f.Fatal(err)
	}
	return handler(config, "", e.pulls, e.app, &atomic.Bool{})
}
