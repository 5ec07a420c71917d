package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// longestAnswer is more than the metrics of a cache are, in bytes.
const longestAnswer = 8 << 20

// Pods asks Pods by way of their API server, so that they need no way in from here.
type Pods interface {
	// Get returns what a Pod answers on a port at a path by plain HTTP. It takes the right to get pods/proxy. An error of the API server
	// is one of apierrors: NotFound may also be the answer of the Pod.
	Get(ctx context.Context, pod client.ObjectKey, port int, path string) ([]byte, error)
	// Certificates returns the chain that a Pod serves on a port, leaf first. It takes the right to create pods/portforward.
	Certificates(ctx context.Context, pod client.ObjectKey, port int) ([]*x509.Certificate, error)
}

type pods struct {
	config *rest.Config
	core   *corev1client.CoreV1Client
}

func newPods(config *rest.Config) (*pods, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for Pods: %w", err)
	}
	return &pods{config: config, core: core}, nil
}

// Get implements Pods.
func (p *pods) Get(ctx context.Context, pod client.ObjectKey, port int, path string) ([]byte, error) {
	answer, err := p.core.Pods(pod.Namespace).ProxyGet("http", pod.Name, strconv.Itoa(port), path, nil).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer answer.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(answer, longestAnswer))
}

// Certificates implements Pods. Nothing is verified here, as the caller wants to know what there is.
func (p *pods) Certificates(ctx context.Context, pod client.ObjectKey, port int) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var chain []*x509.Certificate
	err := p.forward(ctx, pod, port, func(local string) error {
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is looked at, not used
		connection, err := dialer.DialContext(ctx, "tcp", local)
		if err != nil {
			return fmt.Errorf("asking Pod %s for its certificate: %w", pod, err)
		}
		defer connection.Close() //nolint:errcheck // it was only read
		chain = connection.(*tls.Conn).ConnectionState().PeerCertificates
		return nil
	})
	return chain, err
}

// forward lets a function use a local address that leads to a port of a Pod.
func (p *pods) forward(ctx context.Context, pod client.ObjectKey, port int, use func(local string) error) error {
	config := rest.CopyConfig(p.config)
	config.Timeout = 0 // it would be that of the whole stream
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return fmt.Errorf("forwarding a port of Pod %s: %w", pod, err)
	}
	target := p.core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return fmt.Errorf("forwarding a port of Pod %s: %w", pod, err)
	}
	defer close(stop)
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("forwarding a port of Pod %s: %w", pod, ctx.Err())
	case err := <-ended:
		return err
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return fmt.Errorf("forwarding a port of Pod %s: %w", pod, err)
	}
	return use(net.JoinHostPort("localhost", strconv.Itoa(int(ports[0].Local))))
}
