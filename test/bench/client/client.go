package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types, https://github.com/distribution/distribution/blob/main/docs/content/spec/manifest-v2-2.md.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// accept is what containerd sends when it asks for a manifest.
var accept = strings.Join([]string{DockerManifest, DockerList, imagev1.MediaTypeImageManifest, imagev1.MediaTypeImageIndex, "*/*"}, ", ")

// Client is one node. It is safe for concurrent use.
type Client struct {
	base      string
	transport *http.Transport
}

// New is a client of the registry at base, such as http://127.0.0.1:5000. Close it.
func New(base string) *Client {
	return &Client{base: base, transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Expect is what an answer has to be.
type Expect struct {
	Digest digest.Digest // checked if set
	Size   int64         // checked if not 0, bytes
	Keep   bool          // the body is wanted
	Range  string        // header Range of the request
}

// Answer is what came of a request.
type Answer struct {
	Status    int // 0: there was no answer
	Header    http.Header
	Body      []byte // with Expect.Keep
	Bytes     int64  // of the body
	Asked     time.Time
	FirstByte time.Duration // of the body; 0 if none came
	Took      time.Duration
	Err       error // the request or its body did not end well
	Wrong     error // the body ended well and is not what was expected
}

// OK tells whether the answer is the whole and right content.
func (a Answer) OK() bool { return a.Status/100 == 2 && a.Err == nil && a.Wrong == nil }

// Cut tells whether an answer began as a success and broke off.
func (a Answer) Cut() bool { return a.Status/100 == 2 && a.Err != nil }

// TimedOut tells whether the caller lost patience.
func (a Answer) TimedOut() bool { return errors.Is(a.Err, context.DeadlineExceeded) }

// String is the outcome in a few words, without times.
func (a Answer) String() string {
	switch {
	case a.TimedOut() && a.Status == 0:
		return "no answer"
	case a.TimedOut():
		return fmt.Sprintf("%d, unfinished", a.Status)
	case a.Status == 0:
		return "connection failed"
	case a.Cut():
		return fmt.Sprintf("%d, cut off", a.Status)
	case a.Wrong != nil:
		return fmt.Sprintf("%d, WRONG CONTENT", a.Status)
	}
	return fmt.Sprint(a.Status)
}

// Failure is nil if the answer is OK.
func (a Answer) Failure() error {
	if a.OK() {
		return nil
	}
	text := fmt.Sprintf("%s, %d bytes in %s", a, a.Bytes, a.Took.Round(time.Millisecond))
	if reason := errors.Join(a.Err, a.Wrong); reason != nil {
		return fmt.Errorf("%s: %w", text, reason)
	}
	return errors.New(text)
}

// Head asks for the header of path, which begins with /v2/.
func (c *Client) Head(ctx context.Context, path string) Answer {
	return c.do(ctx, http.MethodHead, path, Expect{})
}

// Get reads path, which begins with /v2/, to the end.
func (c *Client) Get(ctx context.Context, path string, expect Expect) Answer {
	return c.do(ctx, http.MethodGet, path, expect)
}

func (c *Client) do(ctx context.Context, method, path string, expect Expect) Answer {
	a := Answer{Asked: time.Now()}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		a.Err = err
		return a
	}
	request.Header.Set("Accept", accept)
	if expect.Range != "" {
		request.Header.Set("Range", expect.Range)
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		a.Err, a.Took = err, time.Since(a.Asked)
		return a
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	a.Status, a.Header = response.StatusCode, response.Header
	a.read(response.Body, expect)
	a.Took = time.Since(a.Asked)
	return a
}

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, bufferSize)) }}

// read takes the body to its end and compares it with what was expected.
func (a *Answer) read(body io.Reader, expect Expect) {
	sink, verifier := io.Discard, digest.Verifier(nil)
	var kept bytes.Buffer
	if expect.Keep {
		sink = &kept
	}
	if expect.Digest != "" {
		verifier = expect.Digest.Verifier()
		sink = io.MultiWriter(sink, verifier)
	}
	buffer := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buffer)
	a.copy(sink, body, buffer.Bytes())
	a.Body = kept.Bytes()
	switch {
	case a.Err != nil || a.Status/100 != 2:
	case expect.Size > 0 && a.Bytes != expect.Size:
		a.Wrong = fmt.Errorf("%d bytes came instead of %d", a.Bytes, expect.Size)
	case verifier != nil && !verifier.Verified():
		a.Wrong = fmt.Errorf("the content is not %s", expect.Digest)
	}
}

func (a *Answer) copy(sink io.Writer, body io.Reader, buffer []byte) {
	for {
		n, err := body.Read(buffer)
		if n > 0 && a.Bytes == 0 {
			a.FirstByte = time.Since(a.Asked)
		}
		a.Bytes += int64(n)
		_, _ = sink.Write(buffer[:n]) // memory and hashes do not fail
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			a.Err = err
			return
		}
	}
}
