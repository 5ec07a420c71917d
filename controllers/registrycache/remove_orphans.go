package registrycache

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

// removeOrphans removes Pods of caches that belong to no StatefulSet and will not be taken over by one: those of a cache that was
// removed at the moment at which its StatefulSet was replaced because of its volume. Everything else goes with its owner.
func removeOrphans(ctx context.Context, target *apply.Target, namespace string, stays func(instance string) bool) error {
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := target.Live.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: target.Ours}); err != nil {
		return fmt.Errorf("looking for Pods without an owner: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if metav1.GetControllerOf(pod) != nil || !pod.DeletionTimestamp.IsZero() || stays(pod.Labels[addonsv1.InstanceLabel]) {
			continue
		}
		if err := target.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing Pod %s, which has no owner: %w", pod.Name, err)
		}
	}
	return nil
}
