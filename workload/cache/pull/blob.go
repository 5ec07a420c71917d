package pull

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

// maxAge is what distribution says of blobs: they never change.
const maxAge = "max-age=31536000"

// Blob answers GET and HEAD of /v2/<name>/blobs/<digest>.
func (h *Handler) Blob(w http.ResponseWriter, r *http.Request) {
	dgst, ok := digestOf(w, mux.Vars(r)["digest"])
	if !ok {
		return
	}
	repository := mux.Vars(r)["name"]
	if h.serveStored(w, r, repository, dgst) {
		return
	}
	if r.Method == http.MethodHead {
		h.headBlob(w, r, repository, dgst)
		return
	}
	h.transferBlob(w, r, repository, dgst)
}

// digestOf parses a digest, or answers 400.
func digestOf(w http.ResponseWriter, value string) (digest.Digest, bool) {
	dgst, err := digest.Parse(value)
	if err != nil || (dgst.Algorithm() != digest.SHA256 && dgst.Algorithm() != digest.SHA512) {
		const accepted = "accepted are sha256 and sha512 with lower-case hexadecimal digits"
		serveJSON(w, errcode.ErrorCodeDigestInvalid.WithMessage("digest "+strconv.Quote(value)+" is invalid; "+accepted))
		return "", false
	}
	return dgst, true
}

// serveStored answers from the store if it holds the blob.
func (h *Handler) serveStored(w http.ResponseWriter, r *http.Request, repository string, dgst digest.Digest) bool {
	blob, err := h.Store.Open(r.Context(), dgst)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && r.Context().Err() == nil {
			logrus.WithError(err).WithField("digest", dgst).Warn("a stored blob could not be opened")
		}
		return false
	}
	defer blob.Close() //nolint:errcheck // it was only read
	if err := h.Store.LinkLayer(repository, dgst); err != nil {
		logrus.WithError(err).WithField("digest", dgst).Debug("a stored blob could not be linked")
	}
	describeBlob(w, dgst, Hit)
	http.ServeContent(w, r, "", time.Time{}, blob.File)
	return true
}

func describeBlob(w http.ResponseWriter, dgst digest.Digest, source string) {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Docker-Content-Digest", dgst.String())
	header.Set("Etag", strconv.Quote(dgst.String()))
	header.Set("Cache-Control", maxAge)
	header.Set("Accept-Ranges", "bytes")
	header.Set(SourceHeader, source)
}

// headBlob asks the upstream, unless a transfer knows the answer. It begins none.
func (h *Handler) headBlob(w http.ResponseWriter, r *http.Request, repository string, dgst digest.Digest) {
	if t := h.transfers.find(dgst); t != nil {
		if size, known := t.knownSize(); known && size >= 0 {
			describeBlob(w, dgst, Coalesced)
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			return
		}
	}
	response, err := h.Upstream.Do(r.Context(), http.MethodHead, blobPath(repository, dgst), http.Header{})
	if err != nil {
		serveError(w, r, err, errcode.ErrorCodeBlobUnknown)
		return
	}
	_ = response.Body.Close()
	describeBlob(w, dgst, Bypass)
	if response.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
	}
}

// transferBlob answers from the transfer of the blob, which it begins if none runs. What went wrong for another
// repository may go well for this one.
func (h *Handler) transferBlob(w http.ResponseWriter, r *http.Request, repository string, dgst digest.Digest) {
	for {
		t, began, err := h.transfers.join(repository, dgst)
		if err != nil {
			serveError(w, r, err, errcode.ErrorCodeBlobUnknown)
			return
		}
		source := Miss
		if !began {
			source = Coalesced
		}
		again := h.followTransfer(w, r, t, repository, source)
		if !again {
			return
		}
	}
}

func (h *Handler) followTransfer(w http.ResponseWriter, r *http.Request, t *transfer, repository, source string) (again bool) {
	defer h.transfers.leave(t)
	select {
	case <-t.started:
	case <-r.Context().Done():
		abort()
	}
	if !t.begun {
		if t.repository != repository {
			return true
		}
		serveError(w, r, t.failure(), errcode.ErrorCodeBlobUnknown)
		return false
	}
	f := follow(r.Context(), h.transfers, t, h.Store)
	defer f.Close() //nolint:errcheck // it was only read
	if f.file == nil {
		source = Bypass
	}
	// Until there is a first byte, the answer can still be an error.
	if _, err := f.available(); err != nil && !errors.Is(err, io.EOF) {
		serveError(w, r, err, errcode.ErrorCodeBlobUnknown)
		return false
	}
	describeBlob(w, t.digest, source)
	f.serve(w, r)
	return false
}

// serve answers with the blob or a range of it. An answer that cannot be completed is cut off, so that nobody takes it for
// the whole.
func (f *follower) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" && f.transfer.size >= 0 {
		broken := &remembered{ReadSeeker: f}
		http.ServeContent(w, r, "", time.Time{}, broken)
		if broken.err != nil {
			abort()
		}
		return
	}
	if f.transfer.size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(f.transfer.size, 10))
	}
	if err := f.copyTo(w); err != nil {
		if !errors.Is(err, store.ErrDigest) && r.Context().Err() == nil {
			logrus.WithError(err).WithField("digest", f.transfer.digest).Warn("an answer was cut off")
		}
		abort()
	}
}
