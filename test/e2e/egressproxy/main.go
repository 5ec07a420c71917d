// Command egressproxy is a forwarding proxy for specs: it opens tunnels (CONNECT), and forwards requests that name a whole URL. It
// prints a line for each: when, method, target.
//
//	egressproxy :3128 name=host ...
//
// reaches a host under a name that nobody else resolves, so that what gets there came through the proxy.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"
)

const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 10 * time.Second
)

// proxy knows what it calls other hosts.
type proxy map[string]string

func main() {
	hosts := proxy{}
	for _, pair := range os.Args[2:] {
		name, host, _ := strings.Cut(pair, "=")
		hosts[name] = host
	}
	server := &http.Server{Addr: os.Args[1], Handler: hosts, ReadHeaderTimeout: headerTimeout}
	log.Fatal(server.ListenAndServe())
}

// ServeHTTP implements http.Handler.
func (p proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Println(time.Now().UTC().Format(time.RFC3339Nano), r.Method, r.URL)
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(w, r.Host)
	case r.URL.IsAbs():
		p.forward(w, r)
	default:
		http.Error(w, "this is a proxy", http.StatusBadRequest)
	}
}

// at is where host:port really is.
func (p proxy) at(target string) string {
	host, port, err := net.SplitHostPort(target)
	if real, known := p[host]; err == nil && known {
		return net.JoinHostPort(real, port)
	}
	return target
}

func (p proxy) forward(w http.ResponseWriter, r *http.Request) {
	rewrite := func(request *httputil.ProxyRequest) { request.Out.URL.Host = p.at(request.In.URL.Host) }
	(&httputil.ReverseProxy{Rewrite: rewrite}).ServeHTTP(w, r)
}

func (p proxy) tunnel(w http.ResponseWriter, target string) {
	remote, err := net.DialTimeout("tcp", p.at(target), dialTimeout)
	if err != nil {
		http.Error(w, "no way to "+target, http.StatusBadGateway)
		return
	}
	defer func() { _ = remote.Close() }()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	// Only now, as net/http would read ahead what the client sends next.
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() { _, _ = io.Copy(remote, buffered) }()
	_, _ = io.Copy(client, remote)
}
