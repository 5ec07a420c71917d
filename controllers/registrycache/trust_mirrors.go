package registrycache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

const (
	// caBundleKey is where a Secret holds certificates, as in Secrets of type kubernetes.io/tls.
	caBundleKey = "ca.crt"
	// maxCABundle is what one Secret may hold, and maxCABundles what all mirrors may have together, in bytes: every node gets them with its
	// user data, which some clouds limit to far less, and a ConfigMap brings them to nodes that exist.
	maxCABundle  = 32 << 10
	maxCABundles = 256 << 10
	// namedMirrors is how many mirrors a condition names.
	namedMirrors = 10
)

// mirrorsFact is what is known of the certificates of mirrors.
type mirrorsFact struct {
	// troubles say which mirror has a Secret that cannot be used, and what nodes do; the user has to mend it.
	troubles []string
	// err is any other failure; it is tried again.
	err error
}

// caBundle is what a Secret holds: certificates in PEM, or what is wrong with it, in words that quote nothing of it, or why nobody knows.
type caBundle struct {
	certificates, trouble string
	missing               bool
	err                   error
}

// trustMirrors takes the certificates of mirrors into the status: from there nodes are told, so that no admission waits for a Secret
// (I1). What is good there stays as long as its Secret is not (I5).
func (r *Reconciler) trustMirrors(ctx context.Context, s *scope) (ctrl.Result, error) {
	s.mirrors = &mirrorsFact{}
	names := caBundleSecrets(s.cache)
	if len(names) == 0 && len(s.cache.Status.MirrorCABundles) == 0 {
		return ctrl.Result{}, nil
	}
	before := s.cache.DeepCopy()
	read := map[string]caBundle{}
	for _, name := range names {
		read[name] = r.readMirrorBundle(ctx, s, name)
		s.mirrors.err = errors.Join(s.mirrors.err, read[name].err)
	}
	s.cache.Status.MirrorCABundles = trusted(s, read)
	if err := r.writeStatus(ctx, s, before); err != nil {
		return ctrl.Result{}, err
	}
	if s.unmarked || slices.ContainsFunc(slices.Collect(maps.Values(read)), func(b caBundle) bool { return b.missing }) {
		return ctrl.Result{RequeueAfter: secretPoll}, nil
	}
	return ctrl.Result{}, nil
}

// trusted is what the status is to hold: for each mirror that names a Secret what that holds, else what the status held.
func trusted(s *scope, read map[string]caBundle) []addonsv1.MirrorCABundle {
	var list []addonsv1.MirrorCABundle
	room := maxCABundles
	for _, m := range s.cache.Spec.Mirrors {
		for _, h := range m.Hosts {
			if h.CABundleSecretRef == nil {
				continue
			}
			name := h.CABundleSecretRef.Name
			certificates, trouble := choice(name, read[name], nodepayload.CABundle(s.cache, m.Upstream, h.Host), room)
			if trouble != "" {
				s.mirrors.troubles = append(s.mirrors.troubles, fmt.Sprintf("mirror %s of %s: %s; %s", h.Host, m.Upstream, trouble, meanwhile(certificates)))
			}
			if room -= len(certificates); certificates != "" {
				list = append(list, addonsv1.MirrorCABundle{Upstream: m.Upstream, Host: h.Host, CABundle: certificates})
			}
		}
	}
	return list
}

// choice is what a mirror gets of what its Secret holds and of what it had last, and what keeps it from the former.
func choice(name string, found caBundle, last string, room int) (certificates, trouble string) {
	if found.certificates != "" && len(found.certificates) <= room {
		return found.certificates, ""
	}
	if trouble = found.trouble; found.certificates != "" {
		trouble = fmt.Sprintf("Secret %s, key %s: %d bytes are too many beside those of other mirrors; at most %d bytes in all are accepted",
			name, caBundleKey, len(found.certificates), maxCABundles)
	}
	if len(last) > room {
		return "", trouble
	}
	return last, trouble
}

// meanwhile is what nodes do as long as a Secret cannot be used.
func meanwhile(certificates string) string {
	if certificates == "" {
		return "nodes are not told of this mirror until then"
	}
	return "nodes go on with the certificates that it had last"
}

// readMirrorBundle reads a Secret that mirrors name.
func (r *Reconciler) readMirrorBundle(ctx context.Context, s *scope, name string) caBundle {
	secret, err := r.referenced(ctx, s, name)
	switch {
	case apierrors.IsNotFound(err):
		return caBundle{missing: true, trouble: fmt.Sprintf("Secret %s: not found; a Secret in namespace %s with the key %s is accepted", name, s.cache.Namespace, caBundleKey)}
	case err != nil:
		return caBundle{err: fmt.Errorf("reading the certificates of a mirror: %w", err)}
	}
	content, ok := secret.Data[caBundleKey]
	if !ok {
		return caBundle{trouble: fmt.Sprintf("Secret %s: no key %s; certificates in PEM under this key are accepted", name, caBundleKey)}
	}
	if len(content) > maxCABundle {
		return caBundle{trouble: fmt.Sprintf("Secret %s, key %s: %d bytes; at most %d bytes are accepted, as every node gets them in its user data", name, caBundleKey, len(content), maxCABundle)}
	}
	certificates, err := payload.Certificates(content)
	if err != nil {
		return caBundle{trouble: fmt.Sprintf("Secret %s, key %s: %v", name, caBundleKey, err)}
	}
	return caBundle{certificates: certificates}
}

// caBundleSecrets are the names of the Secrets with certificates of mirrors.
func caBundleSecrets(rc *addonsv1.RegistryCache) []string {
	var names []string
	for _, m := range rc.Spec.Mirrors {
		for _, h := range m.Hosts {
			if h.CABundleSecretRef != nil && !slices.Contains(names, h.CABundleSecretRef.Name) {
				names = append(names, h.CABundleSecretRef.Name)
			}
		}
	}
	return names
}

// mirrorsValid tells whether nodes are told of every mirror as the spec has it.
func mirrorsValid(s *scope) metav1.Condition {
	switch {
	case len(s.cache.Spec.Mirrors) == 0:
		return isTrue(addonsv1.NoMirrorsReason)
	case s.mirrors != nil && len(s.mirrors.troubles) > 0:
		return isFalse(addonsv1.CABundleNotUsableReason, strings.Join(firstFew(s.mirrors.troubles), "\n"))
	case s.mirrors == nil || s.mirrors.err != nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	default:
		return isTrue(addonsv1.MirrorsValidReason)
	}
}

// firstFew are the first of many troubles, and how many there are more.
func firstFew(troubles []string) []string {
	if len(troubles) <= namedMirrors {
		return troubles
	}
	return append(slices.Clone(troubles[:namedMirrors]), fmt.Sprintf("and %d more mirrors", len(troubles)-namedMirrors))
}
