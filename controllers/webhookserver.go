package controllers

import (
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/extension"
)

// NewWebhookServer returns the server of the manager's webhooks, which with the feature gate RuntimeSDK serves the runtime extension too.
func NewWebhookServer(options webhook.Options) (webhook.Server, error) {
	if feature.Gates.Enabled(feature.RuntimeSDK) {
		return extension.NewServer(options)
	}
	return webhook.NewServer(options), nil
}
