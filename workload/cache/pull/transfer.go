package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

// small is the size up to which a blob is not read before its digest was checked: it is all there a moment later, and nobody
// gets a byte of it that is wrong. The configuration of an image is that small, and many a layer.
const small = 1 << 20

// errUnstored tells a client that the store does not take what is left: it must ask the upstream itself.
var errUnstored = errors.New("the rest is not stored")

// transfer is one blob on its way from the upstream.
type transfer struct {
	repository string
	digest     digest.Digest
	cancel     context.CancelFunc

	clients int  // guarded by transfers.mu
	ended   bool // guarded by transfers.mu

	// started is closed when size is known or the transfer failed; size and writer do not change afterwards.
	started chan struct{}
	size    int64 // of the whole blob; -1 if the upstream does not say it
	writer  *store.Writer

	mu      sync.Mutex
	begun   bool
	written int64 // changed by the goroutine of the transfer only
	done    bool  // stored as a whole
	err     error
	rest    io.ReadCloser
	grown   chan struct{} // closed, and replaced, when one of the above changes
}

func newTransfer(repository string, dgst digest.Digest, cancel context.CancelFunc) *transfer {
	return &transfer{repository: repository, digest: dgst, cancel: cancel, started: make(chan struct{}), grown: make(chan struct{})}
}

func (t *transfer) begin(size int64, writer *store.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun, t.size, t.writer = true, size, writer
	close(t.started)
}

// change applies f and wakes the clients.
func (t *transfer) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.grown)
	t.grown = make(chan struct{})
}

func (t *transfer) complete() { t.change(func() { t.done = true }) }

func (t *transfer) fail(err error) {
	t.change(func() {
		t.err = err
		if !t.begun {
			close(t.started)
		}
	})
}

// handOver lets the clients take the rest from the upstream; the first who has read what is stored gets body, if there
// is one.
func (t *transfer) handOver(body io.ReadCloser) {
	t.change(func() { t.err, t.rest = errUnstored, body })
}

// takeRest returns the open body that begins at offset, if it was not taken yet.
func (t *transfer) takeRest(offset int64) io.ReadCloser {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rest == nil || offset != t.written {
		return nil
	}
	body := t.rest
	t.rest = nil
	return body
}

// copy writes body to its end. If the store takes no more, rest is what is left, and the error is store.ErrNotStored.
func (t *transfer) copy(writer *store.Writer, body io.ReadCloser) (rest io.ReadCloser, err error) {
	buffer := make([]byte, chunk)
	for {
		n, readErr := body.Read(buffer)
		if n > 0 {
			stored, err := writer.Write(buffer[:n])
			t.change(func() { t.written += int64(stored) })
			if err != nil {
				left := bytes.NewReader(bytes.Clone(buffer[stored:n]))
				return &joined{Reader: io.MultiReader(left, body), Closer: body}, err
			}
		}
		switch {
		case readErr == io.EOF && (t.size < 0 || t.written == t.size):
			return nil, nil
		case readErr == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case readErr != nil:
			return nil, readErr
		}
	}
}

type joined struct {
	io.Reader
	io.Closer
}

// await returns how many bytes may be read, more than offset. The last byte is among them only when the digest was checked.
// It returns io.EOF at the end, errUnstored when the store has no more than offset, and the error of a broken transfer.
func (t *transfer) await(ctx context.Context, offset int64) (int64, error) {
	for {
		t.mu.Lock()
		visible, done, err, grown := t.written, t.done, t.err, t.grown
		t.mu.Unlock()
		switch {
		case done || errors.Is(err, errUnstored):
		case t.size >= 0 && t.size <= small:
			visible = 0
		default:
			visible-- // also when it broke
		}
		switch {
		case offset < visible:
			return visible, nil
		case done:
			return 0, io.EOF
		case err != nil:
			return 0, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// position is how much is there now.
func (t *transfer) position() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written
}

// file opens the bytes that are stored; both results are nil if there are none.
func (t *transfer) file(ctx context.Context, s *store.Store) (*os.File, io.Closer) {
	if t.writer == nil {
		return nil, nil
	}
	if file, err := t.writer.Reader(); err == nil {
		return file, file
	}
	blob, err := s.Open(ctx, t.digest)
	if err != nil {
		return nil, nil
	}
	return blob.File, blob
}

// knownSize is the size of the whole blob, once the upstream has answered.
func (t *transfer) knownSize() (size int64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size, t.begun
}

// failure is why the transfer did not begin.
func (t *transfer) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// worthItsEnd tells whether more than half is there.
func (t *transfer) worthItsEnd() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begun && t.written*2 > t.size && t.size > 0
}

// drop ends the transfer and what it may have left open.
func (t *transfer) drop() {
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rest != nil {
		_ = t.rest.Close()
		t.rest = nil
	}
}
