package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// intent is the object as server-side apply wants it: only fields that the caller has an opinion on. Typed
// objects render a status and null timestamps, which would be claimed, or seen as a change, at every apply.
func intent(scheme *runtime.Scheme, obj client.Object) (*unstructured.Unstructured, error) {
	gvk, err := apiutil.GVKForObject(obj, scheme)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	content = dropNulls(content)
	delete(content, "status")
	metadata, _ := content["metadata"].(map[string]any)
	maps.DeleteFunc(metadata, func(field string, _ any) bool { return !opinion[field] })
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// opinion holds the fields of metadata that a caller may set.
var opinion = map[string]bool{"name": true, "namespace": true, "labels": true, "annotations": true, "ownerReferences": true}

func dropNulls(in map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range in {
		if value != nil {
			out[key] = withoutNulls(value)
		}
	}
	return out
}

func withoutNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return dropNulls(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, withoutNulls(item))
		}
		return out
	default:
		return value
	}
}
