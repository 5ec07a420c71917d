package apply

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// FieldOwner is the field manager of every write.
const FieldOwner = "capi-registry-cache"

// ErrForeign says that an object of this name exists and is not marked as ours.
var ErrForeign = errors.New("an object of this name exists that is not managed by capi-registry-cache; accepted is to remove or rename it")

// Outcome says what Apply did.
type Outcome string

const (
	// Created says that the object did not exist.
	Created Outcome = "Created"
	// Changed says that the object existed and is different now.
	Changed Outcome = "Changed"
	// Unchanged says that the object is as it was.
	Unchanged Outcome = "Unchanged"
)

// Target is where objects go.
type Target struct {
	// Cluster names the workload cluster, or the one that objects in the management cluster belong to.
	Cluster client.ObjectKey
	// Client reads, from a cache if it has one, and writes.
	Client client.Client
	// Live reads from the API server. It is asked before an object is created, because a cache may be limited
	// to objects that are ours.
	Live client.Reader
	// Ours matches the labels of our objects.
	Ours labels.Selector
}

type id struct {
	cluster client.ObjectKey
	kind    schema.GroupVersionKind
	object  client.ObjectKey
}

type applied struct {
	uid             types.UID
	resourceVersion string
	hash            [sha256.Size]byte
}

// Applier applies objects and remembers what it applied. It may be used by many goroutines.
type Applier struct {
	mu      sync.Mutex
	applied map[id]applied
}

// New returns an Applier that has applied nothing yet.
func New() *Applier {
	return &Applier{applied: map[id]applied{}}
}

// Apply makes the object in the cluster what obj says and fills obj with what is in the cluster then. Fields that
// obj does not set are left alone, except those that an earlier Apply had set. The error wraps ErrForeign, or is
// one of the API server.
func (a *Applier) Apply(ctx context.Context, t Target, obj client.Object) (Outcome, error) {
	want, err := intent(t.Client.Scheme(), obj)
	if err != nil {
		return "", err
	}
	hash, err := hashOf(want)
	if err != nil {
		return "", err
	}
	live, err := find(ctx, t, obj)
	if err != nil {
		return "", err
	}
	key := id{t.Cluster, want.GroupVersionKind(), client.ObjectKeyFromObject(obj)}
	if live != nil && a.get(key) == (applied{live.GetUID(), live.GetResourceVersion(), hash}) {
		return Unchanged, copyInto(t.Client.Scheme(), live, obj)
	}
	if err := t.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), client.ForceOwnership, client.FieldOwner(FieldOwner)); err != nil {
		return "", err
	}
	a.put(key, applied{want.GetUID(), want.GetResourceVersion(), hash})
	return outcome(live, want), copyInto(t.Client.Scheme(), want, obj)
}

// Forget drops what is remembered of a cluster.
func (a *Applier) Forget(cluster client.ObjectKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.applied {
		if key.cluster == cluster {
			delete(a.applied, key)
		}
	}
}

func (a *Applier) get(key id) applied {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied[key]
}

func (a *Applier) put(key id, value applied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied[key] = value
}

// find returns the object as it is in the cluster, nil if there is none, ErrForeign if it is not ours.
func find(ctx context.Context, t Target, obj client.Object) (client.Object, error) {
	for _, reader := range []client.Reader{t.Client, t.Live} {
		live, err := empty(t.Client.Scheme(), obj)
		if err != nil {
			return nil, err
		}
		err = reader.Get(ctx, client.ObjectKeyFromObject(obj), live)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, err
		case !t.Ours.Matches(labels.Set(live.GetLabels())):
			return nil, ErrForeign
		default:
			return live, nil
		}
	}
	return nil, nil
}

func empty(scheme *runtime.Scheme, obj client.Object) (client.Object, error) {
	gvk, err := apiutil.GVKForObject(obj, scheme)
	if err != nil {
		return nil, err
	}
	made, err := scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	live, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("kind %s is not an object", gvk)
	}
	return live, nil
}

func outcome(before client.Object, after client.Object) Outcome {
	switch {
	case before == nil:
		return Created
	case before.GetResourceVersion() != after.GetResourceVersion():
		return Changed
	default:
		return Unchanged
	}
}

func copyInto(scheme *runtime.Scheme, from, to client.Object) error {
	gvk, err := apiutil.GVKForObject(to, scheme)
	if err != nil {
		return err
	}
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(from)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u, to); err != nil {
		return err
	}
	to.GetObjectKind().SetGroupVersionKind(gvk)
	return nil
}

func hashOf(u *unstructured.Unstructured) ([sha256.Size]byte, error) {
	raw, err := json.Marshal(u.Object)
	return sha256.Sum256(raw), err
}
