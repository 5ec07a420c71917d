package registrycache

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

// bundleKey is the key of what nodes trust, in the Secret of an authority.
const bundleKey = "ca.crt"

// errBroken says what to do about a Secret of ours that somebody spoilt; it is not overwritten, as the key in it may be the good one.
var errBroken = errors.New("tls.crt, tls.key and ca.crt are not an authority, its key and what nodes trust; accepted is to restore or to delete it, which makes another authority")

// authorityFact is what is known of the authority that signs for the caches of a Cluster.
type authorityFact struct {
	// ca signs; nil if it is not known.
	ca *authority.Authority
	// trusted is what nodes are told to trust, the newest first, which is that of ca.
	trusted authority.Bundle
	// secret is where both are kept.
	secret *corev1.Secret
	// rejected says why there is no authority; the user has to mend it.
	rejected string
	// err is any other failure; it is tried again.
	err error
}

// ensureAuthority finds or makes the authority of the Cluster, and tells in the status what nodes trust, before they are told of any
// address. Without an authority everything goes on with the certificates that there are (I5).
func (r *Reconciler) ensureAuthority(ctx context.Context, s *scope) (ctrl.Result, error) {
	if len(s.cache.Spec.Caches) == 0 {
		return ctrl.Result{}, nil
	}
	err := r.findAuthority(ctx, s)
	switch {
	case err == nil:
	case rejected(err) || errors.Is(err, errBroken):
		s.authority = authorityFact{rejected: authorityRejection(err)}
		r.event(s, corev1.EventTypeWarning, addonsv1.AuthorityRejectedReason, "Certify", "The caches have no certificate authority: %v", err)
		return ctrl.Result{}, nil
	default:
		s.authority = authorityFact{err: fmt.Errorf("finding the certificate authority: %w", err)}
		return ctrl.Result{}, nil
	}
	before := s.cache.DeepCopy()
	s.cache.Status.CABundle = s.authority.trusted.PEM()
	return ctrl.Result{}, r.writeStatus(ctx, s, before)
}

// findAuthority reads the Secret from the API server, as no cache holds the content of Secrets. What it lacks of labels and owner is
// added.
func (r *Reconciler) findAuthority(ctx context.Context, s *scope) error {
	found := &corev1.Secret{}
	key := client.ObjectKey{Namespace: s.cache.Namespace, Name: addonsv1.AuthorityName(s.cache.Name)}
	err := r.APIReader.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		return inSecret(key, r.createAuthority(ctx, s, key))
	}
	if err != nil {
		return err
	}
	if found.Labels[addonsv1.ManagedByLabel] != addonsv1.ManagedByValue {
		return inSecret(key, apply.ErrForeign)
	}
	if s.authority, err = readAuthority(found); err != nil {
		return inSecret(key, err)
	}
	if r.successorDue(s) {
		return inSecret(key, r.succeed(ctx, s))
	}
	return inSecret(key, r.patchAuthority(ctx, s, func(*corev1.Secret) {}))
}

func readAuthority(from *corev1.Secret) (authorityFact, error) {
	ca, err := authority.Load(from.Data[corev1.TLSCertKey], from.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return authorityFact{}, errBroken
	}
	trusted, err := authority.ParseBundle(from.Data[bundleKey])
	if err != nil || !trusted[0].Equal(ca.Certificate) {
		return authorityFact{}, errBroken
	}
	return authorityFact{ca: ca, trusted: trusted, secret: from}, nil
}

// createAuthority makes an authority where there is none. What nodes trust already stays trusted: if somebody deleted the Secret, its
// caches still serve with certificates of the authority that was in it.
func (r *Reconciler) createAuthority(ctx context.Context, s *scope, key client.ObjectKey) error {
	ca, err := authority.New(r.Clock.Now())
	if err != nil {
		return err
	}
	before, err := authority.ParseBundle(s.cache.Status.CABundle)
	if err != nil {
		before = nil // there is none, which is not an error
	}
	made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Type: corev1.SecretTypeTLS}
	fact := authorityFact{ca: ca, trusted: before.With(ca.Certificate), secret: made}
	if err := fact.store(s.cache); err != nil {
		return err
	}
	if err := r.mark(s, made); err != nil {
		return err
	}
	if err := r.Client.Create(ctx, made, client.FieldOwner(apply.FieldOwner)); err != nil {
		return err
	}
	s.authority = fact
	r.event(s, corev1.EventTypeNormal, "AuthorityCreated", "Certify", "Created the certificate authority of the caches in Secret %s", key.Name)
	return nil
}

// store puts what the fact says into its Secret.
func (f *authorityFact) store(rc *addonsv1.RegistryCache) error {
	certificate, key, err := f.ca.Encode()
	if err != nil {
		return err
	}
	f.secret.Data = map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key, bundleKey: f.trusted.PEM()}
	if asked := rc.Annotations[addonsv1.RotateCAAnnotation]; asked != "" {
		metav1.SetMetaDataAnnotation(&f.secret.ObjectMeta, addonsv1.RotateCAAnnotation, asked)
	}
	return nil
}

// mark lets the Secret go, and be moved by clusterctl, with the RegistryCache. It lacks a label that the objects of caches have: a workload
// cluster that manages itself may have both in one namespace.
func (r *Reconciler) mark(s *scope, obj *corev1.Secret) error {
	if obj.Labels == nil {
		obj.Labels = map[string]string{}
	}
	obj.Labels[clusterv1.ClusterNameLabel] = s.cache.Name
	obj.Labels[addonsv1.ManagedByLabel] = addonsv1.ManagedByValue
	if r.WatchFilterValue != "" {
		obj.Labels[clusterv1.WatchLabel] = r.WatchFilterValue
	}
	return controllerutil.SetOwnerReference(s.cache, obj, r.Client.Scheme())
}

// patchAuthority changes the Secret, if that changes anything, and only if nobody else did in the meantime.
func (r *Reconciler) patchAuthority(ctx context.Context, s *scope, change func(*corev1.Secret)) error {
	before := s.authority.secret.DeepCopy()
	change(s.authority.secret)
	if err := r.mark(s, s.authority.secret); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(before, s.authority.secret) {
		return nil
	}
	return r.Client.Patch(ctx, s.authority.secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(apply.FieldOwner))
}

func inSecret(key client.ObjectKey, err error) error {
	if err == nil {
		return nil
	}
	return &objectError{object: "Secret " + key.Name, err: err}
}

// authorityRejection says the same as long as the cause does.
func authorityRejection(err error) string {
	if errors.Is(err, errBroken) {
		var failed *objectError
		errors.As(err, &failed)
		return fmt.Sprintf("%s: %v", failed.object, errBroken)
	}
	return rejection(err)
}

// untrusted says why nodes cannot be told of caches that serve TLS, if that is so: nobody knows what they are to trust.
func (s *scope) untrusted() string {
	if len(s.cache.Status.CABundle) > 0 {
		return ""
	}
	for _, entry := range s.cache.Status.Caches {
		if strings.HasPrefix(entry.Endpoint, "https://") {
			return "nodes are not told of caches that serve TLS, as there is no certificate authority"
		}
	}
	return ""
}
