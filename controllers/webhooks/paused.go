package webhooks

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch

// clusterPaused tells whether the Cluster is paused. No bootstrap provider makes data for such a one: who writes a Secret is
// clusterctl, which moves it or brings it back, and the RegistryCache has no status then, so that less is known than is in the data.
//
// The API server has the last word on that: the cache of the manager may not be filled, not have heard of the Cluster yet, or not of the
// end of its pause, and the first Machines after a pause are to have caches too.
func (h *bootstrapData) clusterPaused(ctx context.Context, key client.ObjectKey) (bool, error) {
	isPaused, err := readPaused(ctx, h.cached, key)
	if err != nil || isPaused {
		isPaused, err = readPaused(ctx, h.live, key)
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Cluster %s: %w", key, err)
	}
	return isPaused, nil
}

func readPaused(ctx context.Context, from client.Reader, key client.ObjectKey) (bool, error) {
	cluster := &clusterv1.Cluster{}
	err := from.Get(ctx, key, cluster)
	return ptr.Deref(cluster.Spec.Paused, false), err
}
