package cache

import (
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
)

// UpstreamVariable is the environment variable with the upstream that the cache serves, as it stands in image
// references. Without it the cache answers whoever asks.
const UpstreamVariable = "CACHE_UPSTREAM"

// onlyFor refuses what a node asks of another upstream. An address may outlive its cache on nodes and be given to the
// next one; the answer would then be somebody else's image. containerd names the registry that it means in the
// parameter `ns` (https://github.com/containerd/containerd/blob/main/docs/hosts.md); other clients name none.
func onlyFor(upstream string, next http.Handler) http.Handler {
	if upstream == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.Query().Get("ns")
		if asked == "" || asked == upstream {
			next.ServeHTTP(w, r)
			return
		}
		message := "this cache serves " + upstream
		if err := errcode.ServeJSON(w, errcode.ErrorCodeNameUnknown.WithMessage(message)); err != nil {
			logrus.WithError(err).Debug("answering a request for another upstream")
		}
	})
}
