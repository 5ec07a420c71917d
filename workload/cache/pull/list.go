package pull

import (
	"io"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
)

// Tags answers GET of /v2/<name>/tags/list: what the upstream says, and what the store has if that does not answer.
func (h *Handler) Tags(stored http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		response, err := h.Upstream.Do(r.Context(), http.MethodGet, listPath(r), http.Header{"Accept": r.Header["Accept"]})
		switch {
		case err == nil:
			passOn(w, response)
		case isNotFound(err):
			serveError(w, r, err, errcode.ErrorCodeNameUnknown)
		default:
			w.Header().Set(SourceHeader, Stale)
			stored.ServeHTTP(w, r)
		}
	}
}

// Referrers answers GET of /v2/<name>/referrers/<digest>, which is not stored: it may change at any time, and a client
// that gets no answer goes on without.
func (h *Handler) Referrers(w http.ResponseWriter, r *http.Request) {
	response, err := h.Upstream.Do(r.Context(), http.MethodGet, listPath(r), http.Header{"Accept": r.Header["Accept"]})
	if err != nil {
		serveError(w, r, err, errcode.ErrorCodeManifestUnknown)
		return
	}
	passOn(w, response)
}

// passOn copies an answer; Link is how lists are continued.
func passOn(w http.ResponseWriter, response *http.Response) {
	defer response.Body.Close() //nolint:errcheck // it was only read
	for _, name := range []string{"Content-Type", "Link", "Oci-Filters-Applied"} {
		for _, value := range response.Header.Values(name) {
			w.Header().Add(name, value)
		}
	}
	w.Header().Set(SourceHeader, Bypass)
	w.WriteHeader(response.StatusCode)
	if _, err := io.Copy(w, response.Body); err != nil {
		logrus.WithError(err).Debug("passing on a list")
		abort()
	}
}

// listPath is the path and query of a list, without containerd's parameter, which is meant for us.
func listPath(r *http.Request) string {
	query := r.URL.Query()
	query.Del("ns")
	if len(query) == 0 {
		return r.URL.EscapedPath()
	}
	return r.URL.EscapedPath() + "?" + query.Encode()
}
