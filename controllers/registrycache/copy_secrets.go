package registrycache

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// keepCopies wants the copies of Secrets that the cache names to stay, also those that were not written now (I5).
func keepCopies(values manifests.Values, fact *cacheFact) {
	for _, name := range manifests.AccessSecrets(values) {
		fact.objects[objectKey(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}})] = true
	}
}

// copied is what happens after an object was applied: Pods whose Secrets have changed are touched, so that kubelet writes the files
// at once. That it may fail for a Pod that is not there is no matter: kubelet does it by itself a little later.
func (r *Reconciler) copied(ctx context.Context, s *scope, cache addonsv1.Cache, values manifests.Values, obj client.Object, outcome apply.Outcome) {
	if outcome == apply.Unchanged || !manifests.IsAccessSecret(values, obj) {
		return
	}
	s.copied = true
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, manifests.AccessChangedAnnotation, obj.GetResourceVersion())
	for _, name := range manifests.PodNames(cache) {
		pod := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: values.Namespace, Name: name}}
		pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		if err := s.target.Client.Patch(ctx, pod, client.RawPatch(types.MergePatchType, []byte(patch))); client.IgnoreNotFound(err) != nil {
			ctrl.LoggerFrom(ctx).V(1).Info("A Pod was not told that its Secrets have changed", "pod", name, "err", err.Error())
		}
	}
}

// pinCopies lets Pods start again when a copy changes, if their image may be one that reads them only then. The version of the
// Secret stands for its content; a hash of it would let a short password be guessed by who may read Pods but no Secrets.
func pinCopies(ctx context.Context, s *scope, values manifests.Values, set *appsv1.StatefulSet) error {
	if !values.Access.Restarted {
		return nil
	}
	var versions []string
	for _, name := range manifests.AccessSecrets(values) {
		secret := secretMetadata()
		err := s.target.Live.Get(ctx, client.ObjectKey{Namespace: values.Namespace, Name: name}, secret)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("looking at Secret %s: %w", name, err)
		}
		versions = append(versions, name+"="+secret.ResourceVersion)
	}
	if len(versions) > 0 {
		manifests.SetAccessRevision(set, strings.Join(versions, ","))
	}
	return nil
}
