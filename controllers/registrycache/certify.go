package registrycache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// certify sees to it that a cache has a certificate that nodes trust, before set makes its Pods. The key of it is made here and kept in the
// workload cluster alone. What cannot be signed for want of an authority goes on with the certificate that it has.
func (r *Reconciler) certify(ctx context.Context, s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus, fact *cacheFact, set *appsv1.StatefulSet) error {
	values := r.values(s, cache, entry)
	if fact.uncertified = !values.Certified(); fact.uncertified {
		return nil
	}
	wanted := manifests.CertificateSecret(values, nil, nil)
	fact.objects[objectKey(wanted)] = true
	leaf, err := r.findCertificate(ctx, s, client.ObjectKeyFromObject(wanted))
	if err != nil {
		return inSecret(client.ObjectKeyFromObject(wanted), err)
	}
	fact.certificate = leaf
	if s.authority.ca != nil && r.unfit(s, entry, leaf) {
		if err := r.issue(ctx, s, cache, entry, fact); err != nil {
			return err
		}
	}
	if values.Stock && fact.certificate != nil {
		set.Spec.Template.Annotations[manifests.CertificateHashAnnotation] = fingerprint(fact.certificate)
	}
	return nil
}

// unfit says whether a cache needs another certificate at once. One of an authority that is being replaced is renewed by
// rotateCertificates, when nodes trust the successor.
func (r *Reconciler) unfit(s *scope, entry *addonsv1.CacheStatus, leaf *x509.Certificate) bool {
	now := r.Clock.Now()
	if leaf == nil || s.authority.trusted.Verify(leaf, certificateNames(s, entry), now) != nil {
		return true
	}
	return authority.SignedBy(leaf, s.authority.ca.Certificate) && !now.Before(authority.RenewAt(leaf))
}

// issue gives a cache a new certificate.
func (r *Reconciler) issue(ctx context.Context, s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus, fact *cacheFact) error {
	certificate, key, err := s.authority.ca.Issue(certificateNames(s, entry), r.Clock.Now())
	if err != nil {
		return err
	}
	secret := manifests.CertificateSecret(r.values(s, cache, entry), certificate, key)
	if _, err := r.applyObject(ctx, s, secret); err != nil {
		return inSecret(client.ObjectKeyFromObject(secret), err)
	}
	if fact.certificate, err = authority.ParsePair(certificate, key); err != nil {
		return err
	}
	r.certificates.put(s.clusterKey(), secret, fact.certificate)
	r.event(s, corev1.EventTypeNormal, "CertificateIssued", "Certify", "The cache of %s has a new certificate", cache.Upstream)
	return nil
}

// findCertificate returns the certificate in a Secret of the workload cluster, nil if there is none, or none that can be used. It reads from
// the API server what is not known from the last time.
func (r *Reconciler) findCertificate(ctx context.Context, s *scope, key client.ObjectKey) (*x509.Certificate, error) {
	cached := &corev1.Secret{}
	err := s.target.Client.Get(ctx, key, cached)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if leaf := r.certificates.get(s.clusterKey(), cached); leaf != nil {
		return leaf, nil
	}
	live := &corev1.Secret{}
	if err := s.target.Live.Get(ctx, key, live); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if !s.target.Ours.Matches(labelsOf(live)) {
		return nil, apply.ErrForeign
	}
	leaf, err := authority.ParsePair(live.Data[corev1.TLSCertKey], live.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, nil
	}
	r.certificates.put(s.clusterKey(), live, leaf)
	return leaf, nil
}

// certificateNames are those of the Service of a cache.
func certificateNames(s *scope, entry *addonsv1.CacheStatus) authority.Names {
	domain := cmp.Or(s.cluster.Spec.ClusterNetwork.ServiceDomain, defaultServiceDomain)
	inNamespace := fmt.Sprintf("%s.%s", entry.ServiceName, s.cache.Spec.Namespace)
	address, _ := addressOf(entry.Endpoint) // the Service has been applied
	return authority.Names{DNS: []string{entry.ServiceName, inNamespace, inNamespace + ".svc", inNamespace + ".svc." + domain}, Address: address}
}

// fingerprint tells certificates apart.
func fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])[:16]
}

// certificates remembers what is in Secrets of workload clusters whose content no cache holds. It never holds a key.
type certificates struct {
	mu    sync.Mutex
	known map[certificateID]*x509.Certificate
}

// certificateID is one version of one Secret.
type certificateID struct {
	cluster, secret client.ObjectKey
	uid             types.UID
	resourceVersion string
}

func newCertificates() *certificates {
	return &certificates{known: map[certificateID]*x509.Certificate{}}
}

func idOf(cluster client.ObjectKey, secret *corev1.Secret) certificateID {
	return certificateID{cluster, client.ObjectKeyFromObject(secret), secret.UID, secret.ResourceVersion}
}

func (c *certificates) get(cluster client.ObjectKey, secret *corev1.Secret) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[idOf(cluster, secret)]
}

// put replaces what was known of this Secret.
func (c *certificates) put(cluster client.ObjectKey, secret *corev1.Secret, certificate *x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := idOf(cluster, secret)
	maps.DeleteFunc(c.known, func(old certificateID, _ *x509.Certificate) bool {
		return old.cluster == cluster && old.secret == id.secret
	})
	c.known[id] = certificate
}

// forgetCluster drops what is known of a cluster.
func (c *certificates) forgetCluster(cluster client.ObjectKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(old certificateID, _ *x509.Certificate) bool { return old.cluster == cluster })
}
