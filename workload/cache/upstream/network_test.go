package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// authority signs the certificates of servers.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

var defaultCA = newAuthority()

// newAuthority ends the test binary if there are no random numbers.
func newAuthority() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return &authority{certificate: certificate, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue is a certificate for loopback and for what is below example.com and example.net.
func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.example.com", "*.example.net"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &a.key.PublicKey, a.key)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func (a *authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	NewWithT(t).Expect(os.WriteFile(path, a.pem, 0o600)).To(Succeed())
	return path
}

// serveTLS serves HTTP/2 and HTTP/1 until the test ends.
func serveTLS(t *testing.T, ca *authority, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t)}, MinVersion: tls.VersionTLS12}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// servePlain serves HTTP/1 without TLS until the test ends.
func servePlain(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// resolve makes the client find all names at the given addresses; names have ports.
func resolve(c *Client, addresses map[string]string) {
	c.transports.current.Load().DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if to, ok := addresses[address]; ok {
			address = to
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// listen gives each connection to serve, and closes it when the test ends.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = connection.Close() })
			go serve(connection)
		}
	}()
	return listener.Addr().String()
}

// silent reads and never answers.
func silent(connection net.Conn) { _, _ = io.Copy(io.Discard, connection) }

// unanswered is an address that answers no connection, like that of a host that is gone: its backlog is full.
func unanswered(t *testing.T) (address string) {
	t.Helper()
	g := NewWithT(t)
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	g.Expect(err).NotTo(HaveOccurred())
	file := os.NewFile(uintptr(socket), "listener")
	t.Cleanup(func() { _ = file.Close() })
	g.Expect(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})).To(Succeed())
	g.Expect(syscall.Listen(socket, 0)).To(Succeed())
	name, err := syscall.Getsockname(socket)
	g.Expect(err).NotTo(HaveOccurred())
	address = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 16 {
		connection, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = connection.Close() })
	}
	t.Fatal("the backlog is never full")
	return ""
}

// refusedAddress is one where nothing listens.
func refusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer listener.Close() //nolint:errcheck // that is the point
	return listener.Addr().String()
}

// half is an answer of 200 that ends, or waits, after its first half.
func half(w http.ResponseWriter) net.Conn {
	connection, stream, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return nil
	}
	body := bytes.Repeat([]byte("x"), 1024)
	_, _ = stream.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n")
	_, _ = stream.Write(body)
	_ = stream.Flush()
	return connection
}

// answering gives the same answer to each request.
func answering(answer string) func(net.Conn) {
	return func(connection net.Conn) {
		buffer := make([]byte, 4096)
		for {
			if _, err := connection.Read(buffer); err != nil {
				return
			}
			if _, err := io.WriteString(connection, answer); err != nil {
				return
			}
		}
	}
}

// relay passes bytes on to a server, for connections that it has not forgotten.
type relay struct {
	address string
	mu      sync.Mutex
	pairs   []*atomic.Bool
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	r := &relay{}
	r.address = listen(t, func(client net.Conn) {
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer upstream.Close() //nolint:errcheck // of a test
		forgotten := &atomic.Bool{}
		r.mu.Lock()
		r.pairs = append(r.pairs, forgotten)
		r.mu.Unlock()
		go pass(upstream, client, forgotten)
		pass(client, upstream, forgotten)
	})
	return r
}

func pass(from, to net.Conn, forgotten *atomic.Bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !forgotten.Load() {
			_, _ = to.Write(buffer[:n])
		}
	}
}

// forget loses what comes from now on through the connections that there are.
func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pair := range r.pairs {
		pair.Store(true)
	}
}
