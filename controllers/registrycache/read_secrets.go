package registrycache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/secrets"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// secretPoll is how soon a Secret is looked at again that is missing or has no label of ours: no watch tells of it.
const secretPoll = 30 * time.Second

// secretsFact is what is known of the Secrets that one cache names.
type secretsFact struct {
	// access is what the cache gets. What is wrong or cannot be read is left out of it, so the copy of before stays.
	access manifests.Access
	// missing and invalid say what the user has to mend.
	missing, invalid []string
	// err is any other failure; it is tried again.
	err error
}

// readSecrets reads the Secrets that caches name, and says what is wrong with them. Nothing here keeps a cache from running.
func (r *Reconciler) readSecrets(ctx context.Context, s *scope) (ctrl.Result, error) {
	result := ctrl.Result{}
	s.secrets = map[string]*secretsFact{}
	for _, cache := range s.cache.Spec.Caches {
		fact := &secretsFact{access: manifests.Access{
			Credentials: cache.CredentialsSecretRef != nil,
			CABundle:    cache.CABundleSecretRef != nil,
			Restarted:   cache.Image != "",
		}}
		s.secrets[cache.Upstream] = fact
		fact.read(r.readCredentials(ctx, s, cache, fact))
		fact.read(r.readCABundle(ctx, s, cache, fact))
		if len(fact.missing) > 0 || s.unmarked {
			result.RequeueAfter = secretPoll
		}
		r.tellSecrets(s, fact)
	}
	return result, nil
}

func (r *Reconciler) readCredentials(ctx context.Context, s *scope, cache addonsv1.Cache, fact *secretsFact) error {
	if cache.CredentialsSecretRef == nil {
		return nil
	}
	field := secretField{cache.Upstream, "credentialsSecretRef", cache.CredentialsSecretRef.Name}
	secret, err := r.referenced(ctx, s, field.secret)
	if err != nil {
		return field.missing(s, err, "accepted is one with the keys "+secrets.UsernameKey+" and "+secrets.PasswordKey)
	}
	found, err := secrets.ReadCredentials(secret)
	if err != nil {
		return field.invalid(err)
	}
	fact.access.Username, fact.access.Password = found.Username, found.Password
	return nil
}

func (r *Reconciler) readCABundle(ctx context.Context, s *scope, cache addonsv1.Cache, fact *secretsFact) error {
	if cache.CABundleSecretRef == nil {
		return nil
	}
	field := secretField{cache.Upstream, "caBundleSecretRef", cache.CABundleSecretRef.Name}
	secret, err := r.referenced(ctx, s, field.secret)
	if err != nil {
		return field.missing(s, err, "accepted is one with the key "+secrets.CABundleKey)
	}
	fact.access.Certificates, err = secrets.ReadCABundle(secret)
	if err != nil {
		return field.invalid(err)
	}
	return nil
}

// secretField is where the spec names a Secret.
type secretField struct{ upstream, field, secret string }

// secretError is what the user has to mend.
type secretError struct {
	missing bool
	message string
}

func (e *secretError) Error() string { return e.message }

func (f secretField) missing(s *scope, err error, accepted string) error {
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("cache of %s: %s: reading Secret %s: %w", f.upstream, f.field, f.secret, err)
	}
	return &secretError{missing: true, message: fmt.Sprintf("cache of %s: %s: there is no Secret %s in namespace %s; %s",
		f.upstream, f.field, f.secret, s.cache.Namespace, accepted)}
}

func (f secretField) invalid(err error) error {
	return &secretError{message: fmt.Sprintf("cache of %s: %s: Secret %s: %v", f.upstream, f.field, f.secret, err)}
}

func (f *secretsFact) read(err error) {
	var problem *secretError
	switch {
	case err == nil:
	case !errors.As(err, &problem):
		f.err = errors.Join(f.err, err)
	case problem.missing:
		f.missing = append(f.missing, problem.message)
	default:
		f.invalid = append(f.invalid, problem.message)
	}
}

// tellSecrets writes an Event for what was not wrong before.
func (r *Reconciler) tellSecrets(s *scope, fact *secretsFact) {
	told := conditions.GetMessage(s.cache, addonsv1.CredentialsValidCondition)
	for reason, problems := range map[string][]string{addonsv1.SecretNotFoundReason: fact.missing, addonsv1.SecretInvalidReason: fact.invalid} {
		for _, problem := range problems {
			if !strings.Contains(told, problem) {
				r.event(s, corev1.EventTypeWarning, reason, "ReadSecret", "%s", problem)
			}
		}
	}
}
