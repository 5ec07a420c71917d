package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/util/cert"
)

// Fronts are registries in this process, at addresses of this machine in a network of containers, and all that they were asked, in
// the order of the requests.
type Fronts struct {
	// Addresses are those of this machine in the network: IPv4 first, then IPv6 if the network has it.
	Addresses []netip.Addr

	mu   sync.Mutex
	asks []ask
}

// ask is a request to a front, by the path below the root of its API.
type ask struct{ front, path string }

// Front describes a registry.
type Front struct {
	// Name is what Orders calls it.
	Name string
	// Address is one of those of Fronts.
	Address netip.Addr
	// Root is the path of its API; "" is /v2.
	Root string
	// Backend is the URL of the registry whose content it serves; "" means that it has nothing.
	Backend string
	// TLS gives it a certificate of an authority of its own.
	TLS bool
}

// FrontServer is a front that answers until it is closed.
type FrontServer struct {
	*httptest.Server
	// CA signed its certificate, in PEM; nil without TLS.
	CA []byte
}

// NewFronts looks for the addresses of this machine in a network of Docker.
func NewFronts(ctx context.Context, network string) (*Fronts, error) {
	printed, err := docker(ctx, "network", "inspect", network, "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}")
	if err != nil {
		return nil, err
	}
	local, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("looking for the addresses of this machine: %w", err)
	}
	f := &Fronts{}
	for _, subnet := range strings.Fields(printed) {
		prefix, err := netip.ParsePrefix(subnet)
		if err != nil {
			return nil, fmt.Errorf("subnet of %s: %w", network, err)
		}
		for _, l := range local {
			if p, err := netip.ParsePrefix(l.String()); err == nil && prefix.Contains(p.Addr()) {
				f.Addresses = append(f.Addresses, p.Addr())
			}
		}
	}
	if len(f.Addresses) == 0 {
		return nil, fmt.Errorf("this machine has no address in the network %s, %q", network, printed)
	}
	slices.SortFunc(f.Addresses, netip.Addr.Compare)
	return f, nil
}

// Serve starts a front.
func (f *Fronts) Serve(front Front) (*FrontServer, error) {
	if front.Root == "" {
		front.Root = "/v2"
	}
	handler, err := f.handler(front)
	if err != nil {
		return nil, err
	}
	listener, err := listen(front.Address)
	if err != nil {
		return nil, fmt.Errorf("starting front %s: %w", front.Name, err)
	}
	server := &FrontServer{Server: httptest.NewUnstartedServer(handler)}
	err = errors.Join(err, server.Listener.Close())
	server.Listener = listener
	if !front.TLS {
		server.Start()
		return server, err
	}
	ca, key, err := cert.GenerateSelfSignedCertKey(front.Name+".example", []net.IP{front.Address.AsSlice()}, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for front %s: %w", front.Name, err)
	}
	pair, err := tls.X509KeyPair(ca, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of front %s: %w", front.Name, err)
	}
	server.TLS, server.CA = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ca
	server.StartTLS()
	return server, nil
}

// listen waits while the kernel asks whether somebody else has the IPv6 address of a network that was made just now.
func listen(address netip.Addr) (net.Listener, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		if !errors.Is(err, syscall.EADDRNOTAVAIL) || time.Now().After(deadline) {
			return listener, err
		}
	}
}

// handler notes every request but those that only ask for the API.
func (f *Fronts) handler(front Front) (http.Handler, error) {
	backend, err := url.Parse(front.Backend)
	if err != nil {
		return nil, fmt.Errorf("backend of front %s: %w", front.Name, err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		r.Out.URL.Path = "/v2" + strings.TrimPrefix(r.In.URL.Path, front.Root)
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == front.Root+"/" {
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, front.Root+"/")
		f.mu.Lock()
		f.asks = append(f.asks, ask{front.Name, path})
		f.mu.Unlock()
		if !ok || front.Backend == "" {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}), nil
}

// Forget forgets all requests until now.
func (f *Fronts) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = nil
}

// Orders are those in which fronts were asked, by what for: <repository>/manifests/<reference> or <repository>/blobs/<digest>.
func (f *Fronts) Orders() map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	orders := map[string][]string{}
	for _, a := range f.asks {
		if !slices.Contains(orders[a.path], a.front) {
			orders[a.path] = append(orders[a.path], a.front)
		}
	}
	return orders
}
