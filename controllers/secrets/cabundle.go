package secrets

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// CABundleKey is that of a Secret with certificates.
const CABundleKey = "ca.crt"

const certificateBlock = "CERTIFICATE"

// ReadCABundle returns the certificates in a Secret, in PEM, without anything else that was between them.
func ReadCABundle(secret *corev1.Secret) ([]byte, error) {
	const accepted = "accepted are certificates in PEM"
	value, found := secret.Data[CABundleKey]
	if !found {
		return nil, fmt.Errorf("key %s is missing; %s", CABundleKey, accepted)
	}
	if begun := bytes.Count(value, []byte("-----BEGIN ")); begun != blocks(value) {
		return nil, fmt.Errorf("key %s holds a damaged PEM block; %s", CABundleKey, accepted)
	}
	var bundle []byte
	for number := 1; ; number++ {
		block, rest := pem.Decode(value)
		if block == nil {
			break
		}
		value = rest
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("key %s: PEM block %d is not a certificate; accepted are blocks of type %s only", CABundleKey, number, certificateBlock)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("key %s: PEM block %d is not a valid certificate; %s", CABundleKey, number, accepted)
		}
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: block.Bytes})...)
	}
	if len(bundle) == 0 {
		return nil, fmt.Errorf("key %s holds no certificate; %s", CABundleKey, accepted)
	}
	return bundle, nil
}

// blocks counts the PEM blocks that can be read; a reader passes over others.
func blocks(value []byte) int {
	for count := 0; ; count++ {
		block, rest := pem.Decode(value)
		if block == nil {
			return count
		}
		value = rest
	}
}
