package registrycache

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// applyWorkload makes the objects of every cache what they should be. What goes wrong with one cache does not
// keep the others from it (I5).
func (r *Reconciler) applyWorkload(ctx context.Context, s *scope) (ctrl.Result, error) {
	before := s.cache.DeepCopy()
	result := ctrl.Result{}
	s.facts = map[string]*cacheFact{}
	for _, cache := range before.Spec.Caches {
		fact := &cacheFact{instance: manifests.ServiceName(cache.Upstream), objects: map[string]bool{}}
		s.facts[cache.Upstream] = fact
		result = util.LowestNonZeroResult(result, r.applyCache(ctx, s, cache, fact))
	}
	return result, r.writeStatus(ctx, s, before)
}

// applyCache applies the objects of one cache, with another address as often as the one it has is taken or refused.
func (r *Reconciler) applyCache(ctx context.Context, s *scope, cache addonsv1.Cache, fact *cacheFact) ctrl.Result {
	entry := s.status(cache.Upstream)
	if fact.err = adoptAddress(ctx, s, entry); fact.err != nil {
		return ctrl.Result{}
	}
	for entry.Endpoint != "" || s.addressing.reason == addonsv1.ServiceCIDRUnknownReason {
		later, err := r.applyObjects(ctx, s, cache, entry, fact)
		var again bool
		var result ctrl.Result
		switch {
		case addressTaken(err):
			again, result, err = r.moveAddress(ctx, s, entry)
		case s.droppable(entry, err):
			again, result, err = r.dropAddress(s, entry)
		default:
			r.record(s, cache, fact, err)
			return later
		}
		if !again {
			fact.err = err
			return result
		}
	}
	return ctrl.Result{}
}

// applyObjects stops at the first object that fails; the error then names it.
func (r *Reconciler) applyObjects(ctx context.Context, s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus, fact *cacheFact) (ctrl.Result, error) {
	values := r.values(s, cache, entry)
	again, err := r.spreadReplicas(ctx, s, cache, entry, &values)
	if err != nil {
		return again, &objectError{object: "replicas", err: err}
	}
	return again, r.applyValues(ctx, s, cache, entry, fact, values)
}

func (r *Reconciler) applyValues(ctx context.Context, s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus, fact *cacheFact, values manifests.Values) error {
	if err := r.growVolumes(ctx, s, cache, &values, fact); err != nil {
		return &objectError{object: "PersistentVolumeClaims", err: err}
	}
	objects, err := manifests.Objects(values)
	if err != nil {
		return &objectError{object: "manifests", err: apierrors.NewBadRequest(err.Error())}
	}
	keepCopies(values, fact)
	created := false
	for _, obj := range objects {
		fact.objects[objectKey(obj)] = true
		if set, ok := obj.(*appsv1.StatefulSet); ok {
			if fact.volume.replaced {
				continue // the watch tells when the old one is gone
			}
			if err := r.certify(ctx, s, cache, entry, fact, set); err != nil {
				return err
			}
			if err := pinCopies(ctx, s, values, set); err != nil {
				return err
			}
		}
		outcome, err := r.applyObject(ctx, s, obj)
		if errors.Is(err, errReplaced) {
			return nil
		}
		if err != nil {
			return &objectError{object: fmt.Sprintf("%s %s", obj.GetObjectKind().GroupVersionKind().Kind, obj.GetName()), err: err}
		}
		r.copied(ctx, s, cache, values, obj, outcome)
		if _, ok := obj.(*appsv1.StatefulSet); ok {
			created = outcome == apply.Created
		}
		if service, ok := obj.(*corev1.Service); ok {
			takeOver(s.cache, entry, service)
		}
	}
	fact.applied = true
	if created {
		r.event(s, corev1.EventTypeNormal, "CacheCreated", "Apply", "Created the cache of %s in the workload cluster, at %s", cache.Upstream, entry.Endpoint)
	}
	return nil
}

func (r *Reconciler) applyObject(ctx context.Context, s *scope, obj client.Object) (apply.Outcome, error) {
	if namespace, ok := obj.(*corev1.Namespace); ok {
		return apply.Unchanged, ensureNamespace(ctx, s, namespace)
	}
	outcome, err := r.applier.Apply(ctx, *s.target, obj)
	if set, ok := obj.(*appsv1.StatefulSet); ok && immutable(err) {
		return outcome, r.replaceStatefulSet(ctx, s, set)
	}
	return outcome, err
}

// ensureNamespace creates a namespace that is missing. One that exists is not ours to change.
func ensureNamespace(ctx context.Context, s *scope, namespace *corev1.Namespace) error {
	err := s.target.Live.Get(ctx, client.ObjectKeyFromObject(namespace), &corev1.Namespace{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	return client.IgnoreAlreadyExists(s.target.Client.Create(ctx, namespace, client.FieldOwner(apply.FieldOwner)))
}

// values are what the objects of a cache are made of.
func (r *Reconciler) values(s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus) manifests.Values {
	values := manifests.Values{
		Namespace: s.cache.Spec.Namespace,
		Name:      entry.ServiceName,
		Upstream:  cache.Upstream,
		RemoteURL: entry.RemoteURL,
		Image:     r.WorkloadImage,
		Volume:    cache.Volume,
		Resources: cache.Resources,

		Proxy:                cache.Proxy,
		ClusterNetworks:      clusterNetworks(s.cluster),
		Replicas:             ptr.Deref(cache.Replicas, 0),
		NodeSelector:         cache.NodeSelector,
		Tolerations:          cache.Tolerations,
		HighWatermarkPercent: ptr.Deref(cache.GarbageCollection.HighWatermarkPercent, 0),
		RevalidateAfter:      ptr.Deref(cache.RevalidateAfter, metav1.Duration{}).Duration,
		TLS:                  scheme(cache) == "https",
		Access:               s.secrets[cache.Upstream].access,
	}
	if cache.Image != "" {
		values.Image, values.Stock = cache.Image, true
	}
	if cache.GarbageCollection.TTL != nil {
		values.TTL = cache.GarbageCollection.TTL.Duration
	}
	if addr, err := addressOf(entry.Endpoint); err == nil {
		values.ClusterIP = addr.String()
	}
	return values
}

// adoptAddress takes the address of a Service that runs into the status: nodes know that one. They differ after
// clusterctl moved the RegistryCache, which loses its status.
func adoptAddress(ctx context.Context, s *scope, entry *addonsv1.CacheStatus) error {
	service := &corev1.Service{}
	err := s.target.Client.Get(ctx, client.ObjectKey{Namespace: s.cache.Spec.Namespace, Name: entry.ServiceName}, service)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if s.target.Ours.Matches(labelsOf(service)) && service.DeletionTimestamp.IsZero() {
		takeOver(s.cache, entry, service)
	}
	return nil
}

// takeOver makes the address of a Service the endpoint of its cache.
func takeOver(rc *addonsv1.RegistryCache, entry *addonsv1.CacheStatus, service *corev1.Service) {
	if addr, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil {
		entry.Endpoint = endpoint(rc, entry.Upstream, addr)
	}
}

// objectKey tells the objects of a namespace apart.
func objectKey(obj client.Object) string { return fmt.Sprintf("%T/%s", obj, obj.GetName()) }
