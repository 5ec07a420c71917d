package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

const (
	// maxManifest is what registries accept at most; distribution has the same limit
	// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests).
	maxManifest = 4 << 20
	// lookupTimeout bounds a question to the upstream about a manifest.
	lookupTimeout = 30 * time.Second
	// staleTimeout bounds the wait for a tag of which the store has an answer. It is longer than a slow token service takes.
	// Who waited in vain spares the others: for slowFor, within which the upstream's own time-outs end the question, they wait
	// slowTimeout only.
	staleTimeout = 3 * time.Second
	slowTimeout  = 50 * time.Millisecond
	slowFor      = 10 * time.Second
)

// manifest is what a request for a manifest is answered with.
type manifest struct {
	digest  digest.Digest
	content []byte
	source  string
}

// Manifest answers GET and HEAD of /v2/<name>/manifests/<reference>.
func (h *Handler) Manifest(w http.ResponseWriter, r *http.Request) {
	h.demand.note(&h.demand.asked)
	repository, reference := mux.Vars(r)["name"], mux.Vars(r)["reference"]
	var m manifest
	var err error
	if strings.Contains(reference, ":") {
		dgst, ok := digestOf(w, reference)
		if !ok {
			return
		}
		m, err = h.byDigest(r.Context(), repository, dgst)
	} else {
		m, err = h.byTag(r.Context(), repository, reference)
	}
	if err != nil {
		serveError(w, r, err, errcode.ErrorCodeManifestUnknown)
		return
	}
	h.demand.note(&h.demand.answered)
	m.serve(w, r)
}

func (m manifest) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", mediaType(m.content))
	header.Set("Docker-Content-Digest", m.digest.String())
	header.Set("Etag", strconv.Quote(m.digest.String()))
	header.Set("Content-Length", strconv.Itoa(len(m.content)))
	header.Set(SourceHeader, m.source)
	if r.Header.Get("If-None-Match") == header.Get("Etag") {
		header.Del("Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(m.content); err != nil {
		logrus.WithError(err).Debug("writing a manifest")
	}
}

// byDigest returns a manifest from the store, else from the upstream.
func (h *Handler) byDigest(ctx context.Context, repository string, dgst digest.Digest) (manifest, error) {
	if content, ok := h.storedManifest(ctx, repository, dgst); ok {
		return manifest{dgst, content, Hit}, nil
	}
	return share(ctx, &h.manifests, repository+"@"+dgst.String(), func(ctx context.Context) (manifest, error) {
		content, err := h.fetchManifest(ctx, repository, dgst.String(), dgst)
		return manifest{dgst, content, Miss}, err
	})
}

// byTag asks the upstream what the tag is, unless it was asked a moment ago, and falls back on what the store knows.
func (h *Handler) byTag(ctx context.Context, repository, tag string) (manifest, error) {
	known, checked, ok := h.Store.Resolve(repository, tag)
	if ok && time.Since(checked) < h.RevalidateAfter {
		if content, ok := h.storedManifest(ctx, repository, known); ok {
			return manifest{known, content, Hit}, nil
		}
	}
	wait, cancel := h.patience(ctx, ok)
	defer cancel()
	m, err := share(wait, &h.tags, repository+":"+tag, func(ctx context.Context) (manifest, error) {
		return h.lookUp(ctx, repository, tag)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		h.slow.Store(time.Now().UnixNano())
	}
	if err == nil || !ok || isNotFound(err) || ctx.Err() != nil {
		return m, err
	}
	content, ok := h.storedManifest(ctx, repository, known)
	if !ok {
		return m, err
	}
	metrics.Stale.WithLabelValues(string(kindOf(err))).Inc()
	return manifest{known, content, Stale}, nil
}

// patience bounds how long a tag of which the store has an answer waits for the upstream; its question goes on.
func (h *Handler) patience(ctx context.Context, stored bool) (context.Context, context.CancelFunc) {
	if !stored {
		return ctx, func() {}
	}
	if time.Since(time.Unix(0, h.slow.Load())) < slowFor {
		return context.WithTimeout(ctx, slowTimeout)
	}
	return context.WithTimeout(ctx, staleTimeout)
}

// lookUp asks the upstream for the digest of a tag by HEAD, which rate limits do not count, and returns the manifest.
func (h *Handler) lookUp(ctx context.Context, repository, tag string) (manifest, error) {
	dgst, err := h.headTag(ctx, repository, tag)
	if err != nil {
		return manifest{}, err
	}
	h.slow.Store(0)
	m := manifest{digest: dgst, source: Hit}
	var ok bool
	if m.content, ok = h.storedManifest(ctx, repository, dgst); !ok {
		m.source = Miss
		reference := dgst.String()
		if dgst == "" {
			reference = tag
		}
		if m.content, err = h.fetchManifest(ctx, repository, reference, dgst); err != nil {
			return manifest{}, err
		}
		if dgst == "" {
			m.digest = digest.FromBytes(m.content)
		}
	}
	if err := h.Store.Tag(repository, tag, m.digest); err != nil {
		logrus.WithError(err).WithFields(logrus.Fields{"repository": repository, "tag": tag}).Warn("a tag could not be stored")
	}
	return m, nil
}

// headTag returns "" if the upstream does not tell the digest.
func (h *Handler) headTag(ctx context.Context, repository, tag string) (digest.Digest, error) {
	response, err := h.Upstream.Do(ctx, http.MethodHead, manifestPath(repository, tag), acceptManifests())
	if err != nil {
		return "", err
	}
	_ = response.Body.Close()
	dgst, err := digest.Parse(response.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return "", nil //nolint:nilerr // the upstream need not tell it
	}
	return dgst, nil
}

// storedManifest reads a manifest of the repository from the store.
func (h *Handler) storedManifest(ctx context.Context, repository string, dgst digest.Digest) ([]byte, bool) {
	if dgst == "" || !h.Store.HasManifest(repository, dgst) {
		return nil, false
	}
	blob, err := h.Store.Open(ctx, dgst)
	if err != nil {
		return nil, false
	}
	defer blob.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(io.LimitReader(blob, maxManifest))
	return content, err == nil && int64(len(content)) == blob.Size
}

// fetchManifest gets a manifest from the upstream, checks it against want unless that is "", and stores it.
func (h *Handler) fetchManifest(ctx context.Context, repository, reference string, want digest.Digest) ([]byte, error) {
	response, err := h.Upstream.Do(ctx, http.MethodGet, manifestPath(repository, reference), acceptManifests())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(io.LimitReader(response.Body, maxManifest+1))
	metrics.PulledBytes.WithLabelValues(metrics.Manifest).Add(float64(len(content)))
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxManifest:
		return nil, fmt.Errorf("manifest %s of %s is larger than %d bytes", reference, repository, maxManifest)
	case want != "" && want.Algorithm().FromBytes(content) != want:
		metrics.UpstreamErrors.WithLabelValues(string(upstream.Digest)).Inc()
		return nil, fmt.Errorf("manifest %s of %s: %w", reference, repository, store.ErrDigest)
	}
	h.keep(repository, want, content)
	return content, nil
}

// keep stores a manifest. It is served also if that fails.
func (h *Handler) keep(repository string, dgst digest.Digest, content []byte) {
	if dgst == "" {
		dgst = digest.FromBytes(content)
	}
	err := h.Store.Put(dgst, content)
	if err == nil {
		err = h.Store.LinkManifest(repository, dgst)
	}
	if err != nil {
		metrics.DiskGuard.WithLabelValues(metrics.GuardWriteFailed).Inc()
		logrus.WithError(err).WithField("digest", dgst).Warn("a manifest is served without being stored")
	}
}

func manifestPath(repository, reference string) string {
	return "/v2/" + repository + "/manifests/" + reference
}

// share runs do once for all who ask for the same key at the same moment. It goes on when one of them leaves. Those who did
// not begin it get the source Coalesced.
func share(ctx context.Context, group *singleflight.Group, key string, do func(context.Context) (manifest, error)) (manifest, error) {
	began := false
	result := group.DoChan(key, func() (any, error) {
		began = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return do(ctx)
	})
	select {
	case <-ctx.Done():
		return manifest{}, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return manifest{}, r.Err
		}
		m := r.Val.(manifest)
		if !began && m.source == Miss {
			m.source = Coalesced
		}
		return m, nil
	}
}

// kindOf is the label of an error of the upstream.
func kindOf(err error) upstream.Kind {
	var refusal *upstream.Error
	if errors.Is(err, context.DeadlineExceeded) {
		return upstream.Timeout
	}
	if errors.As(err, &refusal) {
		return refusal.Kind
	}
	return upstream.Other
}
