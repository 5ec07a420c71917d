package registrycacheset_test

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// writeCounter counts what the controller writes, by namespace, without Events.
type writeCounter struct {
	mu sync.Mutex
	of map[string][]string
}

func (w *writeCounter) newClient(config *rest.Config, options client.Options) (client.Client, error) {
	c, err := client.NewWithWatch(config, options)
	if err != nil {
		return nil, err
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			w.note("create", obj)
			return c.Create(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			w.note("patch", obj)
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			w.note("delete", obj)
			return c.Delete(ctx, obj, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, subResource string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			w.note("patch "+subResource, obj)
			return c.SubResource(subResource).Patch(ctx, obj, patch, opts...)
		},
	}), nil
}

func (w *writeCounter) note(verb string, obj client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[obj.GetNamespace()] = append(w.of[obj.GetNamespace()], fmt.Sprintf("%s %T %s", verb, obj, obj.GetName()))
}

// in returns the writes in a namespace.
func (w *writeCounter) in(namespace string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.of[namespace]...)
}
