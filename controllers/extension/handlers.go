package extension

import (
	"context"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
)

// handlers answer the hooks. They keep no state, and the same request gets the same answer.
type handlers struct {
	definition *clusterv1.ClusterClassVariable
	schema     *variable.Schema
}

// discoverVariables tells what a ClusterClass may let users set.
func (h *handlers) discoverVariables(_ context.Context, _ *runtimehooksv1.DiscoverVariablesRequest, response *runtimehooksv1.DiscoverVariablesResponse) {
	response.Variables = []clusterv1.ClusterClassVariable{*h.definition.DeepCopy()}
	response.SetStatus(runtimehooksv1.ResponseStatusSuccess)
}

// generatePatches changes no template: Machines are told of caches in their bootstrap data, and never replaced for them (I2).
func (h *handlers) generatePatches(_ context.Context, _ *runtimehooksv1.GeneratePatchesRequest, response *runtimehooksv1.GeneratePatchesResponse) {
	response.SetStatus(runtimehooksv1.ResponseStatusSuccess)
}

// validateTopology refuses a value that no RegistryCache could be made from. What a value may follow upon is not its business: it would
// stop the topology, and with it new Machines, because of a volume that cannot shrink.
func (h *handlers) validateTopology(ctx context.Context, request *runtimehooksv1.ValidateTopologyRequest, response *runtimehooksv1.ValidateTopologyResponse) {
	for _, v := range request.Variables {
		if v.Name != addonsv1.ClusterVariable {
			continue
		}
		if _, errs := h.schema.Parse(ctx, v.Value); len(errs) > 0 {
			response.SetStatus(runtimehooksv1.ResponseStatusFailure)
			response.SetMessage(variable.Message(errs))
			return
		}
	}
	response.SetStatus(runtimehooksv1.ResponseStatusSuccess)
}
