package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

const (
	// refusal is how long a digest is refused after its transfer broke: long enough for containerd, which opens a broken
	// body again at its first host, to be sent to the next one.
	refusal = 5 * time.Second
	// wrongRefusal is the same for a blob that was not what its digest says: long enough for the pulls that follow, which the
	// kubelet tries after 10 and 20 seconds (https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff).
	wrongRefusal = time.Minute
	// attempts is how often a broken transfer is taken up again without a byte of progress.
	attempts = 3
	// pause before a broken transfer is taken up again, times the attempts without progress.
	pause = 200 * time.Millisecond
	// chunk is what is read from the upstream at a time, at most.
	chunk = 128 << 10
)

// errBroken is what requests for a digest get for a moment after its transfer broke.
var errBroken = errors.New("its transfer broke a moment ago")

// transfers are the blobs on their way from the upstream, one transfer for each digest.
type transfers struct {
	store    *store.Store
	upstream *upstream.Client

	mu      sync.Mutex
	running map[digest.Digest]*transfer
	broken  map[digest.Digest]time.Time // until when they are refused
	group   sync.WaitGroup
}

func newTransfers(s *store.Store, u *upstream.Client) *transfers {
	return &transfers{store: s, upstream: u, running: map[digest.Digest]*transfer{}, broken: map[digest.Digest]time.Time{}}
}

// join returns the transfer of dgst, and whether this call began it. The caller leaves it when it is done.
func (ts *transfers) join(repository string, dgst digest.Digest) (t *transfer, began bool, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if time.Now().Before(ts.broken[dgst]) {
		return nil, false, fmt.Errorf("%s: %w", dgst, errBroken)
	}
	if t, ok := ts.running[dgst]; ok {
		t.clients++
		return t, false, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	t = newTransfer(repository, dgst, cancel)
	t.clients = 1
	ts.running[dgst] = t
	ts.group.Go(func() { ts.run(ctx, t) })
	return t, true, nil
}

// leave ends a transfer that nobody waits for any more, unless more than half of it is there.
func (ts *transfers) leave(t *transfer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.clients--
	if t.clients == 0 && (t.ended || !t.worthItsEnd()) {
		t.drop()
		ts.forget(t)
	}
}

// find returns the transfer of dgst if one runs, without joining it.
func (ts *transfers) find(dgst digest.Digest) *transfer {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.running[dgst]
}

func (ts *transfers) wait() { ts.group.Wait() }

// forget must be called with mu held.
func (ts *transfers) forget(t *transfer) {
	if ts.running[t.digest] == t {
		delete(ts.running, t.digest)
	}
}

func (ts *transfers) run(ctx context.Context, t *transfer) {
	err := ts.fetch(ctx, t)
	if err != nil {
		t.fail(err)
	}

	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.ended = true
	ts.forget(t)
	broken := err != nil && ctx.Err() == nil && t.begun
	if t.clients == 0 {
		t.drop()
	}
	if broken {
		now, refused := time.Now(), refusal
		if errors.Is(err, store.ErrDigest) {
			refused = wrongRefusal
		}
		maps.DeleteFunc(ts.broken, func(_ digest.Digest, until time.Time) bool { return now.After(until) })
		ts.broken[t.digest] = now.Add(refused)
		logrus.WithError(err).WithFields(logrus.Fields{"digest": t.digest, "repository": t.repository}).Warn("a transfer from the upstream broke")
	}
}

// fetch transfers the blob into the store. It returns nil if the blob is stored, or if its clients take the rest from the
// upstream themselves.
func (ts *transfers) fetch(ctx context.Context, t *transfer) error {
	body, size, err := ts.open(ctx, t, 0)
	if err != nil {
		return err
	}
	writer, err := ts.store.Create(t.digest, size)
	if err != nil {
		unstored(t, err, metrics.GuardNoSpace)
		t.begin(size, nil)
		t.handOver(body)
		return nil
	}
	defer writer.Cancel()
	t.begin(size, writer)
	if handed, err := ts.fill(ctx, t, writer, body); handed || err != nil {
		return err
	}
	if err := writer.Commit(); err != nil {
		if errors.Is(err, store.ErrNotStored) {
			unstored(t, err, metrics.GuardWriteFailed)
			t.handOver(nil)
			return nil
		}
		metrics.UpstreamErrors.WithLabelValues(string(upstream.Digest)).Inc()
		return err
	}
	if err := ts.store.LinkLayer(t.repository, t.digest); err != nil {
		logrus.WithError(err).WithField("digest", t.digest).Warn("a stored blob could not be linked")
	}
	t.complete()
	return nil
}

// fill copies body into the writer, and takes a body that breaks up again. It closes what it opens, and tells whether the
// rest was handed over to the clients.
func (ts *transfers) fill(ctx context.Context, t *transfer, writer *store.Writer, body io.ReadCloser) (handed bool, err error) {
	for fruitless := 0; ; {
		before := t.written
		rest, err := t.copy(writer, body)
		if errors.Is(err, store.ErrNotStored) {
			unstored(t, err, metrics.GuardWriteFailed)
			t.handOver(rest)
			return true, nil
		}
		_ = body.Close()
		if err == nil {
			return false, nil
		}
		fruitless++
		if t.written > before {
			fruitless = 0
		}
		if fruitless == attempts || ctx.Err() != nil {
			return false, err
		}
		select {
		case <-time.After(time.Duration(fruitless) * pause):
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if body, _, err = ts.open(ctx, t, t.written); err != nil {
			return false, err
		}
	}
}

// open asks the upstream for the blob from offset on. The size is that of the whole blob, -1 if the upstream does not
// say it.
func (ts *transfers) open(ctx context.Context, t *transfer, offset int64) (body io.ReadCloser, size int64, err error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := ts.upstream.Do(ctx, http.MethodGet, blobPath(t.repository, t.digest), header) //nolint:bodyclose // the caller does
	if err != nil {
		return nil, 0, err
	}
	body = &countedBody{response.Body}
	if offset == 0 {
		return body, response.ContentLength, nil
	}
	if err := seek(response, body, offset); err != nil {
		_ = body.Close()
		return nil, 0, err
	}
	return body, t.size, nil
}

// seek brings the answer to a Range request to the offset, also if the upstream did not heed it.
func seek(response *http.Response, body io.Reader, offset int64) error {
	if response.StatusCode != http.StatusPartialContent {
		_, err := io.CopyN(io.Discard, body, offset)
		return err
	}
	value := response.Header.Get("Content-Range")
	first, _, _ := strings.Cut(strings.TrimPrefix(value, "bytes "), "-")
	if at, err := strconv.ParseInt(first, 10, 64); err != nil || at != offset {
		return fmt.Errorf("the upstream answered Content-Range %q to a request from byte %d on", value, offset)
	}
	return nil
}

func unstored(t *transfer, err error, reason string) {
	metrics.DiskGuard.WithLabelValues(reason).Inc()
	logrus.WithError(err).WithField("digest", t.digest).Warn("a blob is served without being stored")
}

func blobPath(repository string, dgst digest.Digest) string {
	return "/v2/" + repository + "/blobs/" + dgst.String()
}

// countedBody counts what comes from the upstream.
type countedBody struct{ io.ReadCloser }

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	metrics.PulledBytes.WithLabelValues(metrics.Blob).Add(float64(n))
	return n, err
}
