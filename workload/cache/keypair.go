package cache

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// rereadInterval is how often the files of a certificate are looked at, at most.
const rereadInterval = time.Second

// keyPair is a certificate and its key in two files, which may be replaced at any time. Files that cannot be used leave the last
// good pair in force: a mounted Secret is swapped as a whole, but not between two reads of ours.
type keyPair struct {
	certificate, key string

	mu      sync.Mutex
	checked time.Time
	seen    [2]os.FileInfo
	pair    *tls.Certificate
	failed  bool
}

// loadKeyPair reads the files for the first time. The error names both, and nothing of what they hold.
func loadKeyPair(certificate, key string) (*keyPair, error) {
	k := &keyPair{certificate: filepath.Clean(certificate), key: filepath.Clean(key)}
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// get is asked at each handshake.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.checked) < rereadInterval {
		return k.pair, nil
	}
	k.checked = time.Now()
	switch err := k.reload(); {
	case err == nil:
		k.failed = false
	case !k.failed: // told once, until it is mended
		k.failed = true
		logrus.WithError(err).Error("the certificate of this cache cannot be read again; the last good one stays")
	}
	return k.pair, nil
}

// reload reads the files if one of them is another than the last time.
func (k *keyPair) reload() error {
	for i, name := range []string{k.certificate, k.key} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("looking at the files of http.tls: %w", err)
		}
		if before := k.seen[i]; !os.SameFile(before, info) || !before.ModTime().Equal(info.ModTime()) || before.Size() != info.Size() {
			return k.load()
		}
	}
	return nil
}

// load looks at the files before it reads them: what is swapped in between is seen the next time.
func (k *keyPair) load() error {
	var seen [2]os.FileInfo
	var err error
	for i, name := range []string{k.certificate, k.key} {
		if seen[i], err = os.Stat(name); err != nil {
			return fmt.Errorf("loading http.tls.certificate %q and http.tls.key %q: %w", k.certificate, k.key, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(k.certificate, k.key)
	if err != nil {
		return fmt.Errorf("loading http.tls.certificate %q and http.tls.key %q: %w", k.certificate, k.key, err)
	}
	if k.pair != nil {
		logrus.WithField("notAfter", pair.Leaf.NotAfter).Info("took over another certificate")
	}
	k.seen, k.pair = seen, &pair
	return nil
}
