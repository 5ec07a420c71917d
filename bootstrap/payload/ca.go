package payload

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// errCA tells nothing of what was given: it may be a key.
var errCA = errors.New("certificates in PEM, and nothing else, are accepted, for an https endpoint")

// trusted returns the certificates of a cache as one file of ours, "" when it has none of its own.
func trusted(c Cache) (string, error) {
	if len(c.CA) == 0 {
		return "", nil
	}
	file := Marker + "\n"
	for rest := c.CA; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return "", errCA
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", errCA
		}
		file += string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
		if len(bytes.TrimSpace(rest)) == 0 {
			break
		}
	}
	if !strings.HasPrefix(c.Endpoint, "https://") {
		return "", errCA
	}
	return file, nil
}
