package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

var (
	now   = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	names = authority.Names{
		DNS:     []string{"registry-docker-io", "registry-docker-io.kube-system", "registry-docker-io.kube-system.svc.cluster.local"},
		Address: netip.MustParseAddr("10.128.0.250"),
	}
)

func newAuthority(t *testing.T, at time.Time) *authority.Authority {
	t.Helper()
	ca, err := authority.New(at)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return ca
}

func issue(t *testing.T, ca *authority.Authority, names authority.Names, at time.Time) (leaf *x509.Certificate, certificate, key []byte) {
	t.Helper()
	g := NewWithT(t)
	certificate, key, err := ca.Issue(names, at)
	g.Expect(err).NotTo(HaveOccurred())
	leaf, err = authority.ParsePair(certificate, key)
	g.Expect(err).NotTo(HaveOccurred())
	return leaf, certificate, key
}

// ask is a request of a client that trusts these authorities and no other.
type ask func(t *testing.T, url string, trusted authority.Bundle) error

// clients are those that a node has: containerd's, which is Go's, and the probe's.
var clients = map[string]ask{
	"Go": func(t *testing.T, url string, trusted authority.Bundle) error {
		roots := x509.NewCertPool()
		NewWithT(t).Expect(roots.AppendCertsFromPEM(trusted.PEM())).To(BeTrue())
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		return response.Body.Close()
	},
	"curl": func(t *testing.T, url string, trusted authority.Bundle) error {
		file := filepath.Join(t.TempDir(), "ca.crt")
		NewWithT(t).Expect(os.WriteFile(file, append([]byte("# managed by capi-registry-cache\n"), trusted.PEM()...), 0o600)).To(Succeed())
		output, err := exec.Command("curl", "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*", "--cacert", file, url).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	},
}

// TestAClientThatTrustsTheBundleReachesTheServer is what containerd and the probe do, at a real server.
func TestAClientThatTrustsTheBundleReachesTheServer(t *testing.T) {
	for family, address := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		for name, ask := range clients {
			t.Run(name+" "+family, func(t *testing.T) {
				g := NewWithT(t)
				old, newer := newAuthority(t, time.Now()), newAuthority(t, time.Now())
				url := serve(t, old, address)
				g.Expect(ask(t, url, authority.Bundle{old.Certificate})).To(Succeed())
				g.Expect(ask(t, url, authority.Bundle{newer.Certificate, old.Certificate})).To(Succeed(), "authorities of one name are told apart by their key")
				g.Expect(ask(t, url, authority.Bundle{old.Certificate, newer.Certificate})).To(Succeed())
				g.Expect(ask(t, url, authority.Bundle{newer.Certificate})).To(MatchError(ContainSubstring("certificate")))
			})
		}
	}
}

// serve answers with a certificate for a loopback address.
func serve(t *testing.T, ca *authority.Authority, address string) string {
	t.Helper()
	g := NewWithT(t)
	_, certificate, key := issue(t, ca, authority.Names{DNS: names.DNS, Address: netip.MustParseAddr(address)}, time.Now())
	pair, err := tls.X509KeyPair(certificate, key)
	g.Expect(err).NotTo(HaveOccurred())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	socket, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	g.Expect(err).NotTo(HaveOccurred())
	_ = server.Listener.Close()
	server.Listener = socket
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestVerifyFindsWhatAClientWouldRefuse(t *testing.T) {
	ca, other := newAuthority(t, now), newAuthority(t, now)
	leaf, _, _ := issue(t, ca, names, now)
	elsewhere := authority.Names{DNS: names.DNS, Address: netip.MustParseAddr("10.128.0.249")}
	renamed := authority.Names{DNS: append([]string{"another"}, names.DNS...), Address: names.Address}
	for name, tc := range map[string]struct {
		bundle authority.Bundle
		names  authority.Names
		at     time.Time
		want   string
	}{
		"all is well":                          {authority.Bundle{ca.Certificate}, names, now, ""},
		"a node whose clock is behind":         {authority.Bundle{ca.Certificate}, names, now.Add(-59 * time.Minute), ""},
		"a moment before the end":              {authority.Bundle{ca.Certificate}, names, now.Add(authority.ServerLife), ""},
		"one of several authorities signed it": {authority.Bundle{other.Certificate, ca.Certificate}, names, now, ""},
		"another authority of the same name":   {authority.Bundle{other.Certificate}, names, now, "unknown authority"},
		"no authority":                         {nil, names, now, "unknown authority"},
		"another address":                      {authority.Bundle{ca.Certificate}, elsewhere, now, "10.128.0.249"},
		"another name":                         {authority.Bundle{ca.Certificate}, renamed, now, "another"},
		"expired":                              {authority.Bundle{ca.Certificate}, names, now.Add(authority.ServerLife + time.Second), "expired"},
		"not yet valid":                        {authority.Bundle{ca.Certificate}, names, now.Add(-2 * time.Hour), "not yet valid"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := tc.bundle.Verify(leaf, tc.names, tc.at)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func TestTimes(t *testing.T) {
	g := NewWithT(t)
	ca := newAuthority(t, now)
	leaf, _, _ := issue(t, ca, names, now)
	g.Expect(authority.IssuedAt(leaf)).To(Equal(now))
	g.Expect(authority.IssuedAt(ca.Certificate)).To(Equal(now))
	g.Expect(authority.RenewAt(leaf)).To(Equal(now.Add(60 * 24 * time.Hour)))
	g.Expect(ca.Certificate.NotAfter.Sub(now)).To(Equal(authority.Life))
}

func TestAnAuthorityIsReadBack(t *testing.T) {
	g := NewWithT(t)
	ca := newAuthority(t, now)
	certificate, key, err := ca.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	again, err := authority.Load(certificate, key)
	g.Expect(err).NotTo(HaveOccurred())
	leaf, _, _ := issue(t, again, names, now)
	g.Expect(authority.SignedBy(leaf, ca.Certificate)).To(BeTrue())
	g.Expect(authority.SignedBy(leaf, newAuthority(t, now).Certificate)).To(BeFalse())
}

func TestABundleHasTheNewestFirstAndEachOnce(t *testing.T) {
	g := NewWithT(t)
	a, b := newAuthority(t, now).Certificate, newAuthority(t, now).Certificate
	bundle := authority.Bundle{a}.With(b).With(a)
	g.Expect(bundle).To(Equal(authority.Bundle{a, b}))
	parsed, err := authority.ParseBundle(bundle.PEM())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parsed.PEM()).To(Equal(bundle.PEM()))
}

// TestWhatIsNoAuthorityIsRefusedI7 also holds that no error repeats what was given.
func TestWhatIsNoAuthorityIsRefusedI7(t *testing.T) {
	g := NewWithT(t)
	ca, other := newAuthority(t, now), newAuthority(t, now)
	certificate, key, _ := ca.Encode()
	_, otherKey, _ := other.Encode()
	_, leaf, leafKey := issue(t, ca, names, now)
	both := authority.Bundle{ca.Certificate, other.Certificate}.PEM()
	for name, given := range map[string][2][]byte{
		"nothing":                 {},
		"no PEM":                  {[]byte("hunter2"), []byte("hunter2")},
		"no key":                  {certificate, nil},
		"a key in both":           {key, key},
		"the key of another":      {certificate, otherKey},
		"a server's certificate":  {leaf, leafKey},
		"two certificates":        {both, key},
		"a certificate for a key": {certificate, certificate},
	} {
		_, err := authority.Load(given[0], given[1])
		g.Expect(err).To(MatchError(And(ContainSubstring("accepted"), Not(ContainSubstring("hunter2")), Not(ContainSubstring("BEGIN")))), name)
	}
	for name, given := range map[string][2][]byte{
		"nothing": {}, "no key": {leaf, nil}, "the key of another": {leaf, otherKey}, "no PEM": {[]byte("hunter2"), leafKey},
	} {
		_, err := authority.ParsePair(given[0], given[1])
		g.Expect(err).To(MatchError(Not(ContainSubstring("hunter2"))), name)
		g.Expect(err).To(HaveOccurred(), name)
	}
}
