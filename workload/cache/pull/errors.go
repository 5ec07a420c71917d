package pull

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

// serveError answers with what makes containerd go on to its next host: 404 and 403 as the upstream has them, 503 for
// everything else. 429 is not passed on: containerd would ask the same host again, up to five times
// (https://github.com/containerd/containerd/blob/main/core/remotes/docker/resolver.go).
func serveError(w http.ResponseWriter, r *http.Request, err error, unknown errcode.ErrorCode) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		abort() // nobody is left to answer
	}
	var refusal *upstream.Error
	if !errors.As(err, &refusal) {
		logrus.WithError(err).WithField("path", r.URL.Path).Warn("a pull failed")
		serveJSON(w, errcode.ErrorCodeUnavailable.WithMessage("the cache could not get it from its upstream"))
		return
	}
	switch refusal.Kind {
	case upstream.NotFound:
		serveJSON(w, unknown.WithMessage("the upstream does not have it"))
	case upstream.Unauthorized, upstream.Denied:
		serveJSON(w, errcode.ErrorCodeDenied.WithMessage("the upstream refuses it to this cache"))
	default:
		if refusal.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
		}
		serveJSON(w, errcode.ErrorCodeUnavailable.WithMessage("the upstream does not answer this cache: "+string(refusal.Kind)))
	}
}

func serveJSON(w http.ResponseWriter, answer errcode.Error) {
	if err := errcode.ServeJSON(w, answer); err != nil {
		logrus.WithError(err).Debug("writing an error")
	}
}

// isNotFound tells whether the upstream says that there is no such thing.
func isNotFound(err error) bool {
	var refusal *upstream.Error
	return errors.As(err, &refusal) && refusal.Kind == upstream.NotFound
}

// abort closes the connection, so that nobody takes what was written for a whole answer.
func abort() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // what net/http has for that
}
