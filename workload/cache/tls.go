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

// listeners are those that a server has to serve for one address: the one given, or TLS on it when the configuration names a
// certificate, or both side by side if pullthrough.http.cleartext says so.
func listeners(socket net.Listener, config *Config) ([]net.Listener, error) {
	if config.HTTP.TLS.Certificate == "" {
		return []net.Listener{socket}, nil
	}
	pair, err := loadKeyPair(config.HTTP.TLS.Certificate, config.HTTP.TLS.Key)
	if err != nil {
		return nil, err
	}
	protocols := []string{"h2", "http/1.1"}
	if config.HTTP.HTTP2.Disabled {
		protocols = protocols[1:]
	}
	settings := &tls.Config{
		MinVersion:     tlsVersions[config.HTTP.TLS.MinimumTLS],
		GetCertificate: pair.get,
		NextProtos:     protocols,
	}
	if !config.Pullthrough.HTTP.Cleartext {
		return []net.Listener{tls.NewListener(socket, settings)}, nil
	}
	secret, plain := split(socket)
	return []net.Listener{tls.NewListener(secret, settings), plain}, nil
}
