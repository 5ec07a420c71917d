package cache_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// fault answers instead of the registry, or returns false.
type fault func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool

func answerWith(status int, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		return true
	}
}

// silent takes a request and never answers.
func silent(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	<-r.Context().Done()
	return cut()
}

// answerOf is what the registry answers.
func answerOf(r *http.Request, registry http.Handler) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	registry.ServeHTTP(recorder, r)
	return recorder
}

// resetInTheMiddle breaks the connection after half of what a GET is answered with.
func resetInTheMiddle(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
	answer := answerOf(r, registry)
	if r.Method != http.MethodGet || answer.Code >= http.StatusMultipleChoices || answer.Body.Len() == 0 {
		return cut()
	}
	copyHeader(w, answer)
	_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
	w.(http.Flusher).Flush()
	return cut()
}

// cut breaks the connection.
func cut() bool {
	panic(http.ErrAbortHandler) //nolint:forbidigo // what net/http has for that
}

// flipAByte answers with as many bytes as asked for, one of them wrong.
func flipAByte(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
	answer := answerOf(r, registry)
	if r.Method != http.MethodGet || answer.Body.Len() == 0 {
		return false
	}
	copyHeader(w, answer)
	wrong := bytes.Clone(answer.Body.Bytes())
	wrong[len(wrong)/2] ^= 1
	_, _ = w.Write(wrong)
	return true
}

func copyHeader(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
	w.WriteHeader(answer.Code)
}

func TestWhatIsCachedIsServedInEveryTroubleOfTheUpstream(t *testing.T) {
	tests := map[string]struct {
		fault fault
		// uncached are the accepted answers for what is not stored.
		uncached []int
	}{
		"errors":             {answerWith(http.StatusInternalServerError), []int{503}},
		"rate limited":       {answerWith(http.StatusTooManyRequests, "Retry-After", "7"), []int{503}},
		"unauthorized":       {answerWith(http.StatusUnauthorized), []int{403}},
		"resets connections": {resetInTheMiddle, []int{503}},
		"never answers":      {silent, []int{503}},
		"wrong bytes":        {flipAByte, []int{503}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			up := newUpstream(t)
			cached, uncached := up.push(t, "v1"), up.push(t, "v2")
			p := startCache(t, settings{remoteURL: up.URL, ttl: "168h", upstream: map[string]any{"responseheadertimeout": "1s"}})
			pull(t, p.registry, "v1", cached)
			up.setFault(test.fault)

			for range 2 { // before the cache knows of the trouble, and after
				pull(t, p.registry, "v1", cached)
				head := send(t, http.MethodHead, manifestURL(p.registry, "v1"), "", "")
				g.Expect(head.status).To(Equal(http.StatusOK))
			}
			for _, address := range []string{manifestURL(p.registry, "v2"), manifestURL(p.registry, uncached.manifestDigest)} {
				answer := get(t, address)
				g.Expect(test.uncached).To(ContainElement(answer.status), answer.body)
				g.Expect(answer.body).To(ContainSubstring(`"errors"`))
			}
			blob, err := try(http.MethodGet, blobURL(p.registry, uncached.layerDigest), "", "")
			if err == nil && blob.status == http.StatusOK {
				g.Expect(digest(blob.body)).To(Equal(uncached.layerDigest), "an answer in full is right")
			}

			p.restart(t)
			pull(t, p.registry, "v1", cached)
		})
	}
}

func TestATagThatIsGoneUpstreamIsGone(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	pull(t, p.registry, "v1", img)
	up.setFault(answerWith(http.StatusNotFound))
	g.Expect(get(t, manifestURL(p.registry, "v1")).status).To(Equal(http.StatusNotFound))
	g.Expect(get(t, manifestURL(p.registry, img.manifestDigest)).status).To(Equal(http.StatusOK), "a digest never goes")
}

func TestARateLimitIsRespectedAndPassedOn(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	up.setFault(answerWith(http.StatusTooManyRequests, "Retry-After", "60"))
	first := get(t, manifestURL(p.registry, "v1"))
	g.Expect(first.status).To(Equal(http.StatusServiceUnavailable))
	wait, err := strconv.Atoi(first.header.Get("Retry-After"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(wait).To(BeNumerically("~", 60, 5))

	up.setFault(nil)
	asked := len(up.asked())
	g.Expect(get(t, manifestURL(p.registry, img.manifestDigest)).status).To(Equal(http.StatusServiceUnavailable))
	g.Expect(up.asked()).To(HaveLen(asked), "the upstream is left alone")
	g.Expect(get(t, p.debug+"/metrics").body).To(ContainSubstring("registry_cache_upstream_rate_limited_until_timestamp_seconds"))
}

func TestWrongBytesAreNeverAnsweredInFull(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	up.setFault(flipAByte)
	_, err := try(http.MethodGet, blobURL(p.registry, img.layerDigest), "", "")
	g.Expect(err).To(MatchError(ContainSubstring(io.ErrUnexpectedEOF.Error())))
	g.Expect(get(t, blobURL(p.registry, img.layerDigest)).status).To(Equal(http.StatusServiceUnavailable), "containerd is sent on to the next host")

	answer := get(t, blobURL(p.registry, img.configDigest))
	g.Expect(answer.status).To(Equal(http.StatusServiceUnavailable), "of a small blob not a byte is answered: %q", answer.body)
	g.Expect(get(t, p.debug+"/metrics").body).To(ContainSubstring(`registry_cache_upstream_errors_total{kind="digest"} 2`))

	p.restart(t)
	up.setFault(nil)
	g.Expect(digest(get(t, blobURL(p.registry, img.layerDigest)).body)).To(Equal(img.layerDigest))
}

func TestABrokenTransferIsTakenUpWhereItBroke(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	broken := false
	up.setFault(func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		if broken {
			return false
		}
		broken = true
		return resetInTheMiddle(w, r, registry)
	})
	g.Expect(digest(get(t, blobURL(p.registry, img.layerDigest)).body)).To(Equal(img.layerDigest))
	g.Expect(up.ranges()).To(ConsistOf(fmt.Sprintf("bytes=%d-", len(img.layer)/2)))
}

func TestTheDiskBeingFullNeverCutsAnAnswer(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	p.limitFileSize(t, uint64(len(img.layer)/2))
	for range 2 {
		pull(t, p.registry, "v1", img)
	}
	metrics := get(t, p.debug+"/metrics").body
	g.Expect(metrics).To(ContainSubstring(`registry_cache_disk_guard_total{reason="write_failed"} 2`))
	p.limitFileSize(t, 1<<40)
	pull(t, p.registry, "v1", img)
	up.Close()
	pull(t, p.registry, "v1", img)
}

func TestABlobThatIsTooLargeForTheStoreIsPassedThrough(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, storage: map[string]any{"maxsize": len(img.layer) / 2}})
	for range 2 {
		answer := get(t, blobURL(p.registry, img.layerDigest))
		g.Expect(digest(answer.body)).To(Equal(img.layerDigest))
		g.Expect(answer.header.Get("X-Cache")).To(Equal("bypass"))
		g.Expect(answer.header.Get("Content-Length")).To(Equal(strconv.Itoa(len(img.layer))))
	}
	up.setFault(flipAByte)
	_, err := try(http.MethodGet, blobURL(p.registry, img.layerDigest), "", "")
	g.Expect(err).To(HaveOccurred(), "wrong bytes are not answered in full here either")
}

func TestTheLogHasOneLineForEachRequestAndNoQuery(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	get(t, blobURL(p.registry, img.layerDigest)+"?token=hunter2")
	get(t, manifestURL(p.registry, "absent")+"?token=hunter2")
	get(t, p.registry+"/v2/?token=hunter2")
	get(t, p.registry+"/nowhere?token=hunter2")
	g.Eventually(p.output, "10s").Should(ContainSubstring("/nowhere"))
	g.Expect(p.output()).NotTo(ContainSubstring("hunter2"))
	lines := 0
	for line := range strings.Lines(p.output()) {
		if strings.Contains(line, `"msg":"request"`) {
			lines++
		}
	}
	g.Expect(lines).To(Equal(3), "a probe has none")
	g.Expect(p.output()).To(MatchRegexp(`"method":"GET".*"source":"miss","status":200`))
}
