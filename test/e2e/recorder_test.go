//go:build e2e

package e2e

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// recorder notes when things happened for the first time in one namespace, as a watcher sees it.
type recorder struct {
	namespace string
	caches    int

	mu            sync.Mutex
	allocated     time.Time
	bootstrapData time.Time
	dataSecretRef time.Time
}

// record begins to watch; it ends with the context.
func record(ctx context.Context, namespace string, caches int) (*recorder, error) {
	r := &recorder{namespace: namespace, caches: caches}
	for _, list := range []client.ObjectList{&v1alpha1.RegistryCacheList{}, &corev1.SecretList{}, &clusterv1.MachineList{}} {
		events, err := env.Client.Watch(ctx, list, client.InNamespace(namespace))
		if err != nil {
			return nil, err
		}
		go r.follow(events)
	}
	return r, nil
}

func (r *recorder) follow(events watch.Interface) {
	for event := range events.ResultChan() {
		switch o := event.Object.(type) {
		case *v1alpha1.RegistryCache:
			r.note(&r.allocated, allocated(o, r.caches))
		case *corev1.Secret:
			r.note(&r.bootstrapData, ofBootstrapProvider(o.OwnerReferences))
		case *clusterv1.Machine:
			r.note(&r.dataSecretRef, o.Spec.Bootstrap.DataSecretName != nil)
		}
	}
}

func (r *recorder) note(at *time.Time, happened bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if happened && at.IsZero() {
		*at = time.Now()
	}
}

func (r *recorder) times() (allocated, bootstrapData, dataSecretRef time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allocated, r.bootstrapData, r.dataSecretRef
}

func allocated(rc *v1alpha1.RegistryCache, caches int) bool {
	endpoints := 0
	for _, c := range rc.Status.Caches {
		if c.Endpoint != "" {
			endpoints++
		}
	}
	return endpoints == caches
}

func ofBootstrapProvider(owners []metav1.OwnerReference) bool {
	for _, o := range owners {
		if strings.HasPrefix(o.APIVersion, bootstrapv1.GroupVersion.Group+"/") {
			return true
		}
	}
	return false
}
