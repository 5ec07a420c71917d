package apply

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// List returns our objects of the given kinds in a namespace, read with reader.
func List(ctx context.Context, reader client.Reader, ours labels.Selector, namespace string, kinds []client.ObjectList) ([]client.Object, error) {
	var found []client.Object
	for _, kind := range kinds {
		list, _ := kind.DeepCopyObject().(client.ObjectList)
		if err := reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: ours}); err != nil {
			return nil, fmt.Errorf("listing %T: %w", kind, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if obj, ok := item.(client.Object); ok && ours.Matches(labels.Set(obj.GetLabels())) {
				found = append(found, obj)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Prune deletes each of the objects that is not wanted any more, is not already going, and is ours. What depends on
// it is removed in the background. It returns what it deleted.
func Prune(ctx context.Context, t Target, objects []client.Object, wanted func(client.Object) bool) ([]client.Object, error) {
	var pruned []client.Object
	for _, obj := range objects {
		if wanted(obj) || !obj.GetDeletionTimestamp().IsZero() || !t.Ours.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		if err := remove(ctx, t.Client, obj); err != nil {
			return pruned, err
		}
		pruned = append(pruned, obj)
	}
	return pruned, nil
}

// remove deletes exactly this object, not one that took its name in the meantime.
func remove(ctx context.Context, c client.Client, obj client.Object) error {
	uid := obj.GetUID()
	err := c.Delete(ctx, obj, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
