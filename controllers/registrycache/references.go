package registrycache

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// referenceOwner is the field manager of the labels on Secrets of users. It is not that of objects that are ours: those labels are all
// that is ours there.
const referenceOwner = "capi-registry-cache-reference"

// references are the Secrets that RegistryCaches name. Their content is read from the API server when it is needed; what is kept
// and watched are the metadata of those that have our label, so that the manager neither holds nor is sent any other Secret.
type references struct{ marked ctrlcache.Cache }

// newReferences makes the cache of metadata, which runs with the manager. namespace limits it; "" does not.
func newReferences(mgr ctrl.Manager, namespace string) (*references, error) {
	marked, err := labels.NewRequirement(addonsv1.ReferencedLabel, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	options := ctrlcache.Options{
		HTTPClient:       mgr.GetHTTPClient(),
		Scheme:           mgr.GetScheme(),
		Mapper:           mgr.GetRESTMapper(),
		DefaultTransform: ctrlcache.TransformStripManagedFields(),
		ByObject:         map[client.Object]ctrlcache.ByObject{secretMetadata(): {Label: labels.NewSelector().Add(*marked)}},
	}
	if namespace != "" {
		options.DefaultNamespaces = map[string]ctrlcache.Config{namespace: {}}
	}
	cache, err := ctrlcache.New(mgr.GetConfig(), options)
	if err != nil {
		return nil, fmt.Errorf("creating the cache of referenced Secrets: %w", err)
	}
	return &references{marked: cache}, mgr.Add(cache)
}

func secretMetadata() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return meta
}

// source wakes the controller for every RegistryCache that names a Secret which changed, came or went.
func (r *references) source(toCaches handler.MapFunc) source.Source {
	return source.Kind(r.marked, client.Object(secretMetadata()), handler.EnqueueRequestsFromMapFunc(toCaches))
}

// secretToCaches maps a Secret to the RegistryCaches that name it.
func (r *Reconciler) secretToCaches(ctx context.Context, secret client.Object) []ctrl.Request {
	list := &addonsv1.RegistryCacheList{}
	if err := r.Client.List(ctx, list, client.InNamespace(secret.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "A changed Secret wakes nobody", "secret", client.ObjectKeyFromObject(secret))
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if slices.Contains(secretNames(&list.Items[i]), secret.GetName()) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// secretNames are the Secrets that a RegistryCache names, in its own namespace.
func secretNames(rc *addonsv1.RegistryCache) []string {
	var refs []*addonsv1.SecretReference
	for i := range rc.Spec.Caches {
		refs = append(refs, rc.Spec.Caches[i].CredentialsSecretRef, rc.Spec.Caches[i].CABundleSecretRef)
	}
	for _, mirror := range rc.Spec.Mirrors {
		for i := range mirror.Hosts {
			refs = append(refs, mirror.Hosts[i].CABundleSecretRef)
		}
	}
	var names []string
	for _, ref := range refs {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	return names
}

// referenced reads a Secret that the spec names, and marks it: with our label, for the watch, and with that of clusterctl, so that
// it is moved along. It gets no owner, which would remove it with the RegistryCache though others may use it.
func (r *Reconciler) referenced(ctx context.Context, s *scope, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.cache.Namespace, Name: name}, secret); err != nil {
		return nil, err
	}
	_, seen := secret.Labels[addonsv1.ReferencedLabel]
	value, moved := secret.Labels[clusterctlv1.ClusterctlMoveLabel]
	if seen && moved || !secret.DeletionTimestamp.IsZero() {
		return secret, nil
	}
	marks := map[string]string{addonsv1.ReferencedLabel: secret.Labels[addonsv1.ReferencedLabel]}
	if value == "" { // another one is the user's
		marks[clusterctlv1.ClusterctlMoveLabel] = ""
	}
	err := r.label(ctx, secret, marks)
	if rejected(err) { // its content is as good as with the labels
		s.unmarked = true
		return secret, nil
	}
	if err != nil {
		return nil, fmt.Errorf("labelling Secret %s: %w", name, err)
	}
	return secret, nil
}

// label makes these labels the ones that we have on a Secret; those that the user has put there as well stay. The UID keeps a
// Secret that was removed meanwhile from being made again.
func (r *Reconciler) label(ctx context.Context, secret client.Object, marks map[string]string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	u.SetNamespace(secret.GetNamespace())
	u.SetName(secret.GetName())
	u.SetUID(secret.GetUID())
	u.SetLabels(marks)
	return r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(referenceOwner), client.ForceOwnership)
}

// releaseSecrets takes our labels off Secrets that no RegistryCache of the namespace names any more.
func (r *Reconciler) releaseSecrets(ctx context.Context, s *scope) (ctrl.Result, error) {
	marked := &metav1.PartialObjectMetadataList{}
	marked.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.references.marked.List(ctx, marked, client.InNamespace(s.cache.Namespace)); err != nil || len(marked.Items) == 0 {
		return ctrl.Result{}, err
	}
	named, err := r.namedInNamespace(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	for i := range marked.Items {
		secret := &marked.Items[i]
		if named[secret.Name] || !secret.DeletionTimestamp.IsZero() {
			continue
		}
		if err := r.release(ctx, secret); err != nil {
			return ctrl.Result{}, fmt.Errorf("taking labels off Secret %s: %w", secret.Name, err)
		}
	}
	return ctrl.Result{}, nil
}

// release asks the API server first whether there is a label of ours: one that the user has put there stays, and is not asked to go
// again and again.
func (r *Reconciler) release(ctx context.Context, cached client.Object) error {
	secret := secretMetadata()
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(cached), secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	ours := slices.ContainsFunc(secret.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == referenceOwner })
	if !ours {
		return nil
	}
	return r.label(ctx, secret, nil)
}

// namedInNamespace are the Secrets that the RegistryCache of the scope names, if it stays, and those that the others name.
func (r *Reconciler) namedInNamespace(ctx context.Context, s *scope) (map[string]bool, error) {
	list := &addonsv1.RegistryCacheList{}
	if err := r.Client.List(ctx, list, client.InNamespace(s.cache.Namespace)); err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for i := range list.Items {
		rc := &list.Items[i]
		if rc.Name == s.cache.Name {
			rc = s.cache
		}
		if !rc.DeletionTimestamp.IsZero() {
			continue
		}
		for _, name := range secretNames(rc) {
			named[name] = true
		}
	}
	return named, nil
}
