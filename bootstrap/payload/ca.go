package payload

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// errCertificates tells nothing of what was given: it may be a key.
var errCertificates = errors.New("certificates in PEM, and nothing else, are accepted")

var errCA = errors.New(errCertificates.Error() + ", for an https endpoint")

// Certificates returns the certificates of a bundle in PEM, without what may stand before each of them. An error says what is
// accepted, and quotes nothing.
func Certificates(bundle []byte) (string, error) {
	certificates := ""
	for rest := bundle; certificates == "" || len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return "", errCertificates
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", errCertificates
		}
		certificates += string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	return certificates, nil
}

// caFile returns the certificates that are trusted for a URL as a file of ours; there is none if there are no certificates.
func caFile(path, url string, bundle []byte) ([]File, error) {
	if len(bundle) == 0 {
		return nil, nil
	}
	certificates, err := Certificates(bundle)
	if err != nil || !strings.HasPrefix(url, "https://") {
		return nil, errCA
	}
	return []File{data(path, Marker+"\n"+certificates)}, nil
}
