package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// errPair tells nothing of what was given: it may be a key.
var errPair = errors.New("not a server certificate and its key")

// Names are what a server is reached by. The first DNS name is also the subject.
type Names struct {
	DNS     []string
	Address netip.Addr
}

// Issue makes a key and a server certificate for it, both in PEM, whose life begins now.
func (a *Authority) Issue(names Names, now time.Time) (certificate, key []byte, err error) {
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making the key of a server: %w", err)
	}
	leaf, err := sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: names.DNS[0]},
		NotBefore:             now.Add(-skew).UTC(),
		NotAfter:              now.Add(ServerLife).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names.DNS,
		IPAddresses:           []net.IP{names.Address.AsSlice()},
	}, a.Certificate, pair, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the certificate of %s: %w", names.DNS[0], err)
	}
	if key, err = keyutil.MarshalPrivateKeyToPEM(pair); err != nil {
		return nil, nil, fmt.Errorf("encoding the key of %s: %w", names.DNS[0], err)
	}
	return Bundle{leaf}.PEM(), key, nil
}

// ParsePair reads what Issue returned.
func ParsePair(certificate, key []byte) (*x509.Certificate, error) {
	certificates, err := cert.ParseCertsPEM(certificate)
	if err != nil || len(certificates) != 1 {
		return nil, errPair
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(key)
	if err != nil {
		return nil, errPair
	}
	if signer, ok := parsed.(crypto.Signer); !ok || !belongs(signer.Public(), certificates[0]) {
		return nil, errPair
	}
	return certificates[0], nil
}

// RenewAt is when a server certificate has a third of its life left.
func RenewAt(leaf *x509.Certificate) time.Time { return leaf.NotAfter.Add(-ServerLife / 3) }

// SignedBy tells whether an authority signed a certificate; they have all the same name.
func SignedBy(leaf, authority *x509.Certificate) bool {
	return leaf.CheckSignatureFrom(authority) == nil
}

// Bundle are authorities that are trusted, the newest first.
type Bundle []*x509.Certificate

// ParseBundle reads what PEM returned.
func ParseBundle(pem []byte) (Bundle, error) { return cert.ParseCertsPEM(pem) }

// PEM is what nodes get.
func (b Bundle) PEM() []byte {
	encoded, _ := cert.EncodeCertificates(b...) // writing to memory does not fail
	return encoded
}

// With puts an authority before the others, once.
func (b Bundle) With(newest *x509.Certificate) Bundle {
	return append(Bundle{newest}, slices.DeleteFunc(slices.Clone(b), newest.Equal)...)
}

// Verify tells what a client that trusts the bundle, and nothing else, has against a server certificate.
func (b Bundle) Verify(leaf *x509.Certificate, names Names, now time.Time) error {
	roots := x509.NewCertPool()
	for _, authority := range b {
		roots.AddCert(authority)
	}
	for _, name := range append(slices.Clone(names.DNS), names.Address.String()) {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			return err
		}
	}
	return nil
}
