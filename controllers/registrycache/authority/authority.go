package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	// Life of an authority: as that of the authorities that kubeadm makes for a cluster.
	Life = 10 * 365 * 24 * time.Hour
	// RenewBefore is how long before its end an authority gets a successor: nodes that only Machine rollouts configure need the
	// time to learn of it.
	RenewBefore = 365 * 24 * time.Hour
	// ServerLife is the life of a server certificate. A third of it is left when it is renewed, so a workload cluster may be out of
	// reach for a month.
	ServerLife = 90 * 24 * time.Hour

	// skew is how far the clock of a node may be behind ours.
	skew = time.Hour

	// commonName and identifierBytes are short, as both are in user data. Serial number and key identifier tell the two authorities of a
	// Cluster apart, at most, that are in use at one time.
	commonName      = "caches"
	identifierBytes = 8
)

// errAuthority tells nothing of what was given: it may be a key.
var errAuthority = errors.New("not a certificate authority and its key; accepted are in PEM one certificate that may sign others, and its private key")

// Authority is a certificate authority that can sign.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// New makes an authority whose life begins now.
func New(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of an authority: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 8*identifierBytes-1))
	if err != nil {
		return nil, fmt.Errorf("choosing the serial number of an authority: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key of an authority: %w", err)
	}
	identifier := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber:          serial,
		SubjectKeyId:          identifier[:identifierBytes],
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-skew).UTC(),
		NotAfter:              now.Add(Life).UTC(),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	certificate, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of an authority: %w", err)
	}
	return &Authority{Certificate: certificate, key: key}, nil
}

// Load reads an authority from PEM, and makes sure that the key is its own. The error says what is accepted, and nothing of what
// was given.
func Load(certificate, key []byte) (*Authority, error) {
	certificates, err := cert.ParseCertsPEM(certificate)
	if err != nil || len(certificates) != 1 || !certificates[0].IsCA {
		return nil, errAuthority
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(key)
	if err != nil {
		return nil, errAuthority
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok || !belongs(signer.Public(), certificates[0]) {
		return nil, errAuthority
	}
	return &Authority{Certificate: certificates[0], key: signer}, nil
}

// Encode returns certificate and key in PEM, as Load reads them.
func (a *Authority) Encode() (certificate, key []byte, err error) {
	if key, err = keyutil.MarshalPrivateKeyToPEM(a.key); err != nil {
		return nil, nil, fmt.Errorf("encoding the key of an authority: %w", err)
	}
	return Bundle{a.Certificate}.PEM(), key, nil
}

// sign makes a certificate with a random serial number, and reads it back.
func sign(template, parent *x509.Certificate, public, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// belongs tells whether a certificate is about this key.
func belongs(public crypto.PublicKey, certificate *x509.Certificate) bool {
	known, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && known.Equal(certificate.PublicKey)
}

// IssuedAt is when New or Issue made a certificate.
func IssuedAt(certificate *x509.Certificate) time.Time { return certificate.NotBefore.Add(skew) }
