package stack

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// servedVersion is the only version of Cluster API's kinds that is served: without conversion webhooks there is no other.
const servedVersion = "v1beta2"

// register brings CRDs and webhook configurations of a provider into the management cluster.
func (s *Stack) register(ctx context.Context, p provider, address string) error {
	module, err := s.moduleDir(ctx, p.module)
	if err != nil {
		return err
	}
	crds, err := s.kustomize(ctx, filepath.Join(module, p.dir, "config", "crd"))
	if err != nil {
		return err
	}
	for _, crd := range crds {
		serveOneVersion(crd)
	}
	if err := apply(ctx, s.Client, crds...); err != nil {
		return err
	}
	webhooks, err := s.kustomize(ctx, filepath.Join(module, p.dir, "config", "webhook"))
	if err != nil {
		return err
	}
	return apply(ctx, s.Client, toURLs(webhooks, p, address, s.authority.PEM)...)
}

// moduleDir is where the module cache holds a module of Cluster API.
func (s *Stack) moduleDir(ctx context.Context, module string) (string, error) {
	return output(ctx, "go", "-C", s.paths.in("test", "kubernetes", "capi"), "list", "-m", "-f", "{{.Dir}}", module)
}

// serveOneVersion drops what needs a conversion webhook.
func serveOneVersion(crd *unstructured.Unstructured) {
	unstructured.RemoveNestedField(crd.Object, "spec", "conversion")
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok && version["name"] == servedVersion {
			version["served"], version["storage"] = true, true
			_ = unstructured.SetNestedSlice(crd.Object, []any{version}, "spec", "versions")
		}
	}
}

// toURLs makes webhook configurations reach a process of this host: its address instead of a Service. Providers
// give their configurations the same names, and a kustomization that is never built here tells them apart.
func toURLs(objects []*unstructured.Unstructured, p provider, address string, ca []byte) []*unstructured.Unstructured {
	var configurations []*unstructured.Unstructured
	for _, u := range objects {
		if !strings.HasSuffix(u.GetKind(), "WebhookConfiguration") {
			continue
		}
		u.SetName(p.name)
		webhooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
		for _, w := range webhooks {
			webhook, _ := w.(map[string]any)
			path, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "path")
			webhook["clientConfig"] = map[string]any{
				"url":      fmt.Sprintf("https://%s:%d%s", address, p.webhookPort, path),
				"caBundle": base64.StdEncoding.EncodeToString(ca),
			}
		}
		_ = unstructured.SetNestedSlice(u.Object, webhooks, "webhooks")
		configurations = append(configurations, u)
	}
	return configurations
}
