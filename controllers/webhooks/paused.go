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
func (h *bootstrapData) clusterPaused(ctx context.Context, key client.ObjectKey) (bool, error) {
	cluster := &clusterv1.Cluster{}
	err := h.cached.Get(ctx, key, cluster)
	if err != nil {
		err = h.live.Get(ctx, key, cluster) // the cache is not filled, or has not heard of it yet
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Cluster %s: %w", key, err)
	}
	return ptr.Deref(cluster.Spec.Paused, false), nil
}
