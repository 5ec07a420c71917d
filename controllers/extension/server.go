package extension

import (
	"fmt"

	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/cluster-api/exp/runtime/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capi-registry-cache/capi-registry-cache/config/crd"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/variable"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
)

// Names of the handlers. ClusterClasses hold them, so they cannot change.
const (
	discoverVariablesName = "discover-variables"
	generatePatchesName   = "generate-patches"
	validateTopologyName  = "validate-topology"
)

// NewServer returns a webhook server that serves the extension beside the webhooks that are registered with it. The options are those of
// the plain server; a mux of one's own is not possible.
func NewServer(options webhook.Options) (webhook.Server, error) {
	catalog := runtimecatalog.New()
	if err := runtimehooksv1.AddToCatalog(catalog); err != nil {
		return nil, fmt.Errorf("building the catalog of runtime hooks: %w", err)
	}
	s, err := server.New(server.Options{
		Catalog: catalog,
		Host:    options.Host, Port: options.Port,
		CertDir: options.CertDir, CertName: options.CertName, KeyName: options.KeyName, ClientCAName: options.ClientCAName,
		TLSOpts: options.TLSOpts,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the server of the runtime extension: %w", err)
	}
	h, err := newHandlers()
	if err != nil {
		return nil, err
	}
	for _, handler := range h.all() {
		if err := s.AddExtensionHandler(handler); err != nil {
			return nil, fmt.Errorf("adding the handler %s: %w", handler.Name, err)
		}
	}
	return s, nil
}

func newHandlers() (*handlers, error) {
	spec, err := crd.RegistryCacheSpec()
	if err != nil {
		return nil, err
	}
	definition, _, err := cluster.Variable(spec)
	if err != nil {
		return nil, err
	}
	schema, err := variable.New()
	if err != nil {
		return nil, err
	}
	return &handlers{definition: definition, schema: schema}, nil
}

// all are the handlers as Cluster API discovers them. Without an answer to the two that are called for each Cluster it goes on.
func (h *handlers) all() []server.ExtensionHandler {
	ignore, fail := runtimehooksv1.FailurePolicyIgnore, runtimehooksv1.FailurePolicyFail
	return []server.ExtensionHandler{
		// No answer must not pass for a ClusterClass without variables.
		{Hook: runtimehooksv1.DiscoverVariables, Name: discoverVariablesName, HandlerFunc: h.discoverVariables, FailurePolicy: &fail},
		{Hook: runtimehooksv1.GeneratePatches, Name: generatePatchesName, HandlerFunc: h.generatePatches, FailurePolicy: &ignore},
		{Hook: runtimehooksv1.ValidateTopology, Name: validateTopologyName, HandlerFunc: h.validateTopology, FailurePolicy: &ignore},
	}
}
