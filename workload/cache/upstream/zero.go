package upstream

import (
	"net/http"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
)

func init() {
	answered := []Kind{Refused, Timeout, DNS, TLS, Reset, ServerError, RateLimited, Unauthorized, Denied, NotFound, Digest, Other}
	metrics.Zero(metrics.UpstreamErrors, answered...)
	metrics.Zero(metrics.Stale, append(answered, Open)...)
	metrics.Zero(metrics.UpstreamRequests, http.MethodGet, http.MethodHead, "other")
	metrics.Zero(metrics.FileErrors, "username", "password", "ca")
}
