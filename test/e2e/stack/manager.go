package stack

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	managerNamespace = "capi-registry-cache-system"
	managerName      = "capi-registry-cache-controller-manager"
	managerTimeout   = 2 * time.Minute
)

// startManager brings config/default into the management cluster as it is, but for what cert-manager would add: the
// serving certificate and the caBundle.
func (s *Stack) startManager(ctx context.Context) error {
	if err := s.loadImage(ctx, ManagementCluster, ManagerImage); err != nil {
		return err
	}
	rendered, err := s.kustomize(ctx, s.paths.in("config", "default"))
	if err != nil {
		return err
	}
	address, err := s.managementAddress(ctx)
	if err != nil {
		return err
	}
	objects, err := s.withoutCertManager(rendered, address)
	if err != nil {
		return err
	}
	if err := s.applyManager(ctx, objects); err != nil {
		return err
	}
	return s.ScaleManager(ctx, 1)
}

// applyManager applies again what needs a CRD or a namespace that is not there yet.
func (s *Stack) applyManager(ctx context.Context, objects []*unstructured.Unstructured) error {
	return s.Progress.Until(ctx, managerTimeout, "manager", func(ctx context.Context) string {
		if err := apply(ctx, s.Client, objects...); err != nil {
			return shorten(err.Error(), 300)
		}
		return ""
	})
}

// withoutCertManager replaces the objects of cert-manager by what it would make of them. The certificate is good for one more host, by
// which Cluster API's core reaches the runtime extension.
func (s *Stack) withoutCertManager(rendered []*unstructured.Unstructured, host string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	var hosts []string
	secret := ""
	for _, u := range rendered {
		switch {
		case strings.HasPrefix(u.GetAPIVersion(), "cert-manager.io/"):
			if u.GetKind() == "Certificate" {
				secret, _, _ = unstructured.NestedString(u.Object, "spec", "secretName")
				hosts, _, _ = unstructured.NestedStringSlice(u.Object, "spec", "dnsNames")
			}
			continue
		case strings.HasSuffix(u.GetKind(), "WebhookConfiguration"):
			trust(u, s.authority.PEM)
		case u.GetKind() == "Deployment":
			addArguments(u, "--node-forget-timeout=1m", "--unreachable-deletion-timeout=2m", "--certificate-overlap=2m", // specs wait for them
				"--feature-gates=RuntimeSDK=true")
		}
		objects = append(objects, u)
	}
	if secret == "" || len(hosts) == 0 {
		return nil, errors.New("config/default holds no Certificate with secretName and dnsNames")
	}
	certificate, err := s.certificateSecret(secret, append(hosts, host))
	return append(objects, certificate), err
}

// addArguments gives the manager more flags.
func addArguments(deployment *unstructured.Unstructured, more ...string) {
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok {
			arguments, _, _ := unstructured.NestedStringSlice(container, "args")
			_ = unstructured.SetNestedStringSlice(container, append(arguments, more...), "args")
		}
	}
	_ = unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers")
}

// trust puts the authority into every webhook.
func trust(configuration *unstructured.Unstructured, ca []byte) {
	webhooks, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
	for _, w := range webhooks {
		if webhook, ok := w.(map[string]any); ok {
			_ = unstructured.SetNestedField(webhook, base64.StdEncoding.EncodeToString(ca), "clientConfig", "caBundle")
		}
	}
	_ = unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks")
}

func (s *Stack) certificateSecret(name string, hosts []string) (*unstructured.Unstructured, error) {
	pair, err := s.authority.serve(hosts...)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: managerNamespace, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: pair.certificate, corev1.TLSPrivateKeyKey: pair.key},
	}
	u := &unstructured.Unstructured{}
	return u, convert(secret, &u.Object)
}

// ScaleManager runs 0 or 1 replicas of this project's manager and waits until it is so.
func (s *Stack) ScaleManager(ctx context.Context, replicas int32) error {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: managerNamespace, Name: managerName}}
	key := client.ObjectKeyFromObject(deployment)
	if err := s.Client.Get(ctx, key, deployment); err != nil {
		return fmt.Errorf("reading the manager's Deployment: %w", err)
	}
	before := client.MergeFrom(deployment.DeepCopy())
	deployment.Spec.Replicas = &replicas
	if err := s.Client.Patch(ctx, deployment, before); err != nil {
		return fmt.Errorf("scaling the manager to %d: %w", replicas, err)
	}
	return s.Progress.Until(ctx, managerTimeout, "manager", func(ctx context.Context) string {
		return s.managerMissing(ctx, replicas)
	})
}

func (s *Stack) managerMissing(ctx context.Context, replicas int32) string {
	pods := &corev1.PodList{}
	if err := s.Client.List(ctx, pods, client.InNamespace(managerNamespace)); err != nil {
		return err.Error()
	}
	deployment := &appsv1.Deployment{}
	if err := s.Client.Get(ctx, client.ObjectKey{Namespace: managerNamespace, Name: managerName}, deployment); err != nil {
		return err.Error()
	}
	status := deployment.Status
	if len(pods.Items) == int(replicas) && status.ReadyReplicas == replicas &&
		status.UpdatedReplicas == replicas && status.ObservedGeneration == deployment.Generation {
		return ""
	}
	missing := fmt.Sprintf("%d Pods, %d of %d ready", len(pods.Items), status.ReadyReplicas, replicas)
	for i := range pods.Items {
		missing += "; " + describePod(&pods.Items[i])
	}
	return missing
}
