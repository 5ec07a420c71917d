package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestABodyThatBreaksOffIsAnError(t *testing.T) {
	tests := map[string]struct {
		serve func(net.Conn)
		kind  Kind
	}{
		"reset": {func(connection net.Conn) {
			_ = connection.(*net.TCPConn).SetLinger(0)
			_ = connection.Close()
		}, Reset},
		"closed": {func(connection net.Conn) { _ = connection.Close() }, Reset},
		"silent": {silent, Timeout},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			server := servePlain(t, func(w http.ResponseWriter, _ *http.Request) {
				connection := half(w)
				t.Cleanup(func() { _ = connection.Close() })
				go test.serve(connection)
			})
			c := newClient(t, server.URL)
			failures := 1
			if test.kind == Reset {
				failures = 3
			}
			for range failures {
				g.Expect(c.Available()).To(Succeed())
				_, err := pull(t, c, publicBlob)
				g.Expect(err).To(ofKind(test.kind))
			}
			g.Expect(c.Available()).To(ofKind(Open))
		})
	}
}

func TestAStalledBodyOfHTTP2IsATimeout(t *testing.T) {
	g := NewWithT(t)
	server := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	c := newClient(t, server.URL)
	response, err := c.Do(context.Background(), http.MethodGet, publicBlob, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(response.ProtoMajor).To(Equal(2))
	got, err := io.ReadAll(response.Body)
	g.Expect(string(got)).To(Equal("first"))
	g.Expect(checked(t, err)).To(ofKind(Timeout))
	again, second := response.Body.Read(make([]byte, 1))
	g.Expect(again).To(BeZero())
	g.Expect(second).To(Equal(err))
	g.Expect(response.Body.Close()).To(Succeed())
	g.Expect(c.Available()).To(ofKind(Open))
}

func TestASlowBodyAndASlowReaderAreNotCut(t *testing.T) {
	g := NewWithT(t)
	const bytesSent = 12
	server := servePlain(t, func(w http.ResponseWriter, _ *http.Request) {
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for range bytesSent {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			<-ticker.C
		}
	})
	c := newClient(t, server.URL, func(o *Options) { o.StallTimeout = 2 * time.Second })
	g.Expect(pull(t, c, publicBlob)).To(HaveLen(bytesSent))

	large := bytes.Repeat([]byte("x"), 8<<20) // more than the buffers of a connection hold
	server = servePlain(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	c = newClient(t, server.URL, func(o *Options) { o.StallTimeout = 200 * time.Millisecond })
	response, err := c.Do(context.Background(), http.MethodGet, publicBlob, nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close() //nolint:errcheck // it was only read
	_, err = io.ReadFull(response.Body, make([]byte, 1))
	g.Expect(err).NotTo(HaveOccurred())
	<-time.After(time.Second) // not a synchronisation: nobody reads for longer than the time-out
	got, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(HaveLen(len(large) - 1))
}

func TestABodyThatIsCompleteEndsARowOfThoseThatBreakOff(t *testing.T) {
	g := NewWithT(t)
	server := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "complete") {
			_, _ = io.WriteString(w, content)
			return
		}
		_ = half(w).Close()
	})
	c := newClient(t, server.URL)
	for range 3 {
		for range 2 {
			_, err := pull(t, c, publicBlob)
			g.Expect(err).To(ofKind(Reset))
		}
		g.Expect(pull(t, c, "/v2/a/manifests/complete")).To(Equal(content))
	}
}

func TestABodyMayBeClosedWhileItIsRead(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"HTTP/1": (*httptest.Server).Start, "HTTP/2": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "first")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{defaultCA.issue(t)}, MinVersion: tls.VersionTLS12}
			server.EnableHTTP2 = true
			start(server)
			t.Cleanup(server.Close)
			c := newClient(t, server.URL, func(o *Options) { o.StallTimeout = time.Minute })
			response, err := c.Do(context.Background(), http.MethodGet, publicBlob, nil) //nolint:bodyclose // closed below, while another goroutine reads
			g.Expect(err).NotTo(HaveOccurred())
			var first atomic.Bool
			ended := make(chan error)
			go func() {
				_, err := io.ReadFull(response.Body, make([]byte, 5))
				first.Store(err == nil)
				_, err = io.ReadAll(response.Body)
				ended <- err
			}()
			g.Eventually(first.Load).Should(BeTrue())
			g.Expect(response.Body.Close()).To(Succeed())
			g.Expect(checked(t, <-ended)).To(ofKind(Other))
			g.Expect(c.Available()).To(Succeed())
		})
	}
}
