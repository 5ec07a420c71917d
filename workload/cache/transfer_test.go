package cache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// client is a GET that was begun.
type client struct {
	response *http.Response
	cancel   context.CancelFunc
	first    chan struct{} // closed with the first byte
	ended    chan struct{}
	body     strings.Builder
	err      error
}

func begin(t *testing.T, address string, header ...string) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := &client{cancel: cancel, first: make(chan struct{}), ended: make(chan struct{})}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	go c.read(request)
	return c
}

func (c *client) read(request *http.Request) {
	defer close(c.ended)
	transport := &http.Transport{} // an own connection
	defer transport.CloseIdleConnections()
	if c.response, c.err = transport.RoundTrip(request); c.err != nil { //nolint:bodyclose // below
		return
	}
	defer func() { _ = c.response.Body.Close() }()
	var once sync.Once
	buffer := make([]byte, 4096)
	for {
		n, err := c.response.Body.Read(buffer)
		c.body.Write(buffer[:n])
		if n > 0 {
			once.Do(func() { close(c.first) })
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			c.err = err
			return
		}
	}
}

// holding returns an upstream that stops each blob in its middle until release is called.
func holding(t *testing.T) (up *upstream, img image, release func()) {
	t.Helper()
	up = newUpstream(t)
	img = up.push(t, "v1")
	up.hold, up.held = make(chan struct{}), make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(up.hold) }) }
	t.Cleanup(release)
	return up, img, release
}

func TestAColdBlobIsTransferredOnceAndStreamedToAll(t *testing.T) {
	g := NewWithT(t)
	up, img, release := holding(t)
	p := startCache(t, settings{remoteURL: up.URL})
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = begin(t, blobURL(p.registry, img.layerDigest))
	}
	for _, c := range clients {
		g.Eventually(c.first, "20s").Should(BeClosed(), "no first byte waits for the last one")
	}
	release()
	sources := map[string]int{}
	for _, c := range clients {
		g.Eventually(c.ended, "20s").Should(BeClosed())
		g.Expect(c.err).NotTo(HaveOccurred())
		g.Expect(digest(c.body.String())).To(Equal(img.layerDigest))
		sources[c.response.Header.Get("X-Cache")]++
	}
	g.Expect(up.count("GET /v2/" + repository + "/blobs/" + img.layerDigest)).To(Equal(1))
	g.Expect(sources).To(Equal(map[string]int{"miss": 1, "coalesced": 19}))
	g.Expect(get(t, p.debug+"/metrics").body).To(And(
		ContainSubstring(`registry_cache_coalesced_requests_total{type="blob"} 19`),
		ContainSubstring(fmt.Sprintf(`registry_proxy_pulled_bytes_total{type="blob"} %v`, float64(len(img.layer)))),
		MatchRegexp(`registry_cache_time_to_first_byte_seconds_count{source="coalesced",type="blob"} 19`),
	))
}

func TestATransferGoesOnForThoseWhoWait(t *testing.T) {
	g := NewWithT(t)
	up, img, release := holding(t)
	p := startCache(t, settings{remoteURL: up.URL})
	first := begin(t, blobURL(p.registry, img.layerDigest))
	g.Eventually(first.first, "20s").Should(BeClosed())
	second := begin(t, blobURL(p.registry, img.layerDigest))
	g.Eventually(second.first, "20s").Should(BeClosed())
	first.cancel()
	<-first.ended
	release()
	g.Eventually(second.ended, "20s").Should(BeClosed())
	g.Expect(second.err).NotTo(HaveOccurred(), p.output())
	g.Expect(digest(second.body.String())).To(Equal(img.layerDigest))
	g.Expect(up.count("GET /v2/" + repository + "/blobs/" + img.layerDigest)).To(Equal(1))
}

// sendPart answers a GET with that share of the blob, tells so, and goes on when told.
func sendPart(numerator, denominator int, sent, goOn chan struct{}, gone chan<- struct{}) fault {
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		answer := answerOf(r, registry)
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		copyHeader(w, answer)
		part := answer.Body.Len() * numerator / denominator
		_, _ = w.Write(answer.Body.Bytes()[:part])
		w.(http.Flusher).Flush()
		close(sent)
		select {
		case <-goOn:
			_, _ = w.Write(answer.Body.Bytes()[part:])
		case <-r.Context().Done():
			close(gone)
		}
		return true
	}
}

func TestATransferThatNobodyWaitsForIsFinishedOnlyIfMoreThanHalfIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		quarters int
		finished bool
	}{"a quarter": {1, false}, "three quarters": {3, true}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			img := up.push(t, "v1")
			p := startCache(t, settings{remoteURL: up.URL})
			sent, goOn, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
			up.setFault(sendPart(test.quarters, 4, sent, goOn, gone))
			c := begin(t, blobURL(p.registry, img.layerDigest))
			g.Eventually(sent, "20s").Should(BeClosed())
			g.Eventually(func() string { return pulledBytes(t, p) }, "20s").Should(Equal(fmt.Sprint(float64(len(img.layer) * test.quarters / 4))))
			c.cancel()
			<-c.ended
			if !test.finished {
				g.Eventually(gone, "20s").Should(BeClosed())
				return
			}
			close(goOn)
			g.Eventually(func() string { return pulledBytes(t, p) }, "20s").Should(Equal(fmt.Sprint(float64(len(img.layer)))))
			up.Close()
			g.Expect(digest(get(t, blobURL(p.registry, img.layerDigest)).body)).To(Equal(img.layerDigest))
		})
	}
}

// pulledBytes is the value of the counter.
func pulledBytes(t *testing.T, p *process) string {
	t.Helper()
	const name = `registry_proxy_pulled_bytes_total{type="blob"} `
	_, after, _ := strings.Cut(get(t, p.debug+"/metrics").body, name)
	value, _, _ := strings.Cut(after, "\n")
	return value
}

func TestRangesAreRightColdInFlightAndStored(t *testing.T) {
	g := NewWithT(t)
	up, img, release := holding(t)
	p := startCache(t, settings{remoteURL: up.URL})
	whole := begin(t, blobURL(p.registry, img.layerDigest))
	g.Eventually(whole.first, "20s").Should(BeClosed())
	early := begin(t, blobURL(p.registry, img.layerDigest), "Range", "bytes=10-1999")
	g.Eventually(early.ended, "20s").Should(BeClosed(), "what is there is not waited for")
	late := begin(t, blobURL(p.registry, img.layerDigest), "Range", fmt.Sprintf("bytes=%d-", len(img.layer)-5))
	release()
	<-late.ended
	<-whole.ended
	g.Expect(early.response.StatusCode).To(Equal(http.StatusPartialContent))
	g.Expect(early.body.String()).To(Equal(img.layer[10:2000]))
	g.Expect(late.body.String()).To(Equal(img.layer[len(img.layer)-5:]))
	g.Expect(up.count("GET /v2/" + repository + "/blobs/" + img.layerDigest)).To(Equal(1))

	for value, want := range map[string]string{
		"bytes=0-0": img.layer[:1],
		"bytes=-7":  img.layer[len(img.layer)-7:],
		"bytes=5-9": img.layer[5:10],
	} {
		c := begin(t, blobURL(p.registry, img.layerDigest), "Range", value)
		<-c.ended
		g.Expect(c.err).NotTo(HaveOccurred(), value)
		g.Expect(c.response.StatusCode).To(Equal(http.StatusPartialContent), value)
		g.Expect(c.body.String()).To(Equal(want), value)
	}
	beyond := begin(t, blobURL(p.registry, img.layerDigest), "Range", "bytes=999999999999-")
	<-beyond.ended
	g.Expect(beyond.response.StatusCode).To(Equal(http.StatusRequestedRangeNotSatisfiable))
}

func TestAColdRangeStoresTheBlob(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	c := begin(t, blobURL(p.registry, img.layerDigest), "Range", "bytes=100-")
	<-c.ended
	g.Expect(c.response.StatusCode).To(Equal(http.StatusPartialContent))
	g.Expect(c.body.String()).To(Equal(img.layer[100:]))
	up.Close()
	g.Eventually(func() string { return digest(get(t, blobURL(p.registry, img.layerDigest)).body) }, "10s").Should(Equal(img.layerDigest))
}

func TestHeadOfAColdBlobTransfersNothing(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	head := send(t, http.MethodHead, blobURL(p.registry, img.layerDigest), "", "")
	g.Expect(head.status).To(Equal(http.StatusOK))
	g.Expect(head.header.Get("Content-Length")).To(Equal(fmt.Sprint(len(img.layer))))
	g.Expect(head.header.Get("Docker-Content-Digest")).To(Equal(img.layerDigest))
	g.Expect(up.count("GET /v2/" + repository + "/blobs/" + img.layerDigest)).To(BeZero())
}

func TestTagChecksOfTheSameMomentAreOneQuestion(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	var waiting sync.WaitGroup
	asked, goOn := make(chan struct{}, 100), make(chan struct{})
	up.setFault(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodHead {
			asked <- struct{}{}
			<-goOn
		}
		return false
	})
	for range 20 {
		waiting.Go(func() {
			answer, err := try(http.MethodGet, manifestURL(p.registry, "v1"), "", "")
			if err != nil || digest(answer.body) != img.manifestDigest {
				t.Errorf("%v %s", err, answer.body)
			}
		})
	}
	<-asked
	g.Eventually(func() string { return get(t, p.debug+"/metrics").body }, "20s").Should(
		ContainSubstring(`registry_http_in_flight_requests{handler="manifest"} 20`))
	close(goOn)
	waiting.Wait()
	g.Expect(up.count("GET /v2/" + repository + "/manifests/" + img.manifestDigest)).To(Equal(1))
	g.Expect(up.count("HEAD /v2/" + repository + "/manifests/v1")).To(Equal(1))

	before := up.count("HEAD /v2/" + repository + "/manifests/v1")
	get(t, manifestURL(p.registry, "v1"))
	g.Expect(up.count("HEAD /v2/"+repository+"/manifests/v1")).To(Equal(before+1), "each pull asks again")
}

func TestAMovedTagIsSeenOnTheNextPullUnlessRevalidatedLater(t *testing.T) {
	for name, test := range map[string]struct {
		revalidateAfter string
		moved           bool
	}{"on each pull": {"0s", true}, "after an hour": {"1h", false}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			first := up.push(t, "v1")
			p := startCache(t, settings{remoteURL: up.URL, revalidateAfter: test.revalidateAfter})
			pull(t, p.registry, "v1", first)
			second := up.push(t, "v2")
			put := send(t, http.MethodPut, manifestURL(up.URL, "v1"), second.manifest, manifestType)
			g.Expect(put.status).To(Equal(http.StatusCreated))
			want := first.manifestDigest
			if test.moved {
				want = second.manifestDigest
			}
			g.Expect(digest(get(t, manifestURL(p.registry, "v1")).body)).To(Equal(want))
			p.restart(t)
			g.Expect(digest(get(t, manifestURL(p.registry, "v1")).body)).To(Equal(want), "also after a restart")
		})
	}
}
