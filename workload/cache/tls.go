package cache

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/distribution/distribution/v3/configuration"
)

// tlsVersions are the values of http.tls.minimumtls; none is tls1.2.
var tlsVersions = map[string]uint16{"": tls.VersionTLS12, "tls1.2": tls.VersionTLS12, "tls1.3": tls.VersionTLS13}

func checkTLS(config *configuration.Configuration) error {
	section := config.HTTP.TLS
	const accepted = "accepted in http.tls are certificate, key and minimumtls"
	switch {
	case section.LetsEncrypt.CacheFile != "":
		return fmt.Errorf("http.tls.letsencrypt is not supported by this cache; %s", accepted)
	case len(section.ClientCAs) > 0 || section.ClientAuth != "":
		return fmt.Errorf("http.tls.clientcas and http.tls.clientauth are not supported by this cache; %s", accepted)
	case len(section.CipherSuites) > 0:
		return fmt.Errorf("http.tls.ciphersuites is not supported by this cache; %s", accepted)
	case (section.Certificate == "") != (section.Key == ""):
		return errors.New("http.tls: one of certificate and key is missing; accepted are both or none")
	}
	if _, ok := tlsVersions[section.MinimumTLS]; !ok {
		return fmt.Errorf("http.tls.minimumtls: %q is unknown; accepted are tls1.2 and tls1.3", section.MinimumTLS)
	}
	return nil
}

// withTLS wraps the listener when the configuration names a certificate.
func withTLS(listener net.Listener, config configuration.HTTP) (net.Listener, error) {
	if config.TLS.Certificate == "" {
		return listener, nil
	}
	certificate, err := tls.LoadX509KeyPair(config.TLS.Certificate, config.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("loading http.tls.certificate %q and http.tls.key %q: %w", config.TLS.Certificate, config.TLS.Key, err)
	}
	protocols := []string{"h2", "http/1.1"}
	if config.HTTP2.Disabled {
		protocols = protocols[1:]
	}
	return tls.NewListener(listener, &tls.Config{
		MinVersion:   tlsVersions[config.TLS.MinimumTLS],
		Certificates: []tls.Certificate{certificate},
		NextProtos:   protocols,
	}), nil
}
