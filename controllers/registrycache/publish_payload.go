package registrycache

import (
	"context"
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

// publishPayload keeps the Secret that bootstrap templates may name. It outlives the RegistryCache, without any cache in it:
// Machines of a template whose Secret is gone never boot (decision 0008). Whatever goes wrong here keeps no cache from running.
func (r *Reconciler) publishPayload(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.clusterGoing() {
		return ctrl.Result{}, nil
	}
	switch err := r.applyPayload(ctx, s); {
	case err == nil:
		s.payload.published = true
	case rejected(err):
		s.payload.rejected = rejection(err)
		r.event(s, corev1.EventTypeWarning, addonsv1.NodePayloadRejectedReason, "Publish", "The node payload was not published: %v", err)
	default:
		s.payload.err = fmt.Errorf("publishing the node payload: %w", err)
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) applyPayload(ctx context.Context, s *scope) error {
	secret, err := r.payloadSecret(s)
	if err != nil {
		return err
	}
	target := apply.Target{Cluster: s.clusterKey(), Client: r.Client, Live: r.APIReader, Ours: labels.SelectorFromSet(labels.Set{
		addonsv1.ManagedByLabel: addonsv1.ManagedByValue,
	})}
	if _, err := r.applier.Apply(ctx, target, secret); err != nil {
		return &objectError{object: "Secret " + secret.Name, err: err}
	}
	return nil
}

// payloadSecret lacks a label that the objects of caches have: a workload cluster that manages itself may have both in one
// namespace. The Cluster owns it, so it is moved by clusterctl and goes with the Cluster.
func (r *Reconciler) payloadSecret(s *scope) (*corev1.Secret, error) {
	archive, err := nodepayload.Archive(s.cache)
	if err != nil {
		return nil, fmt.Errorf("packing the node payload: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.cluster.Namespace,
			Name:      addonsv1.NodePayloadName(s.cluster.Name),
			Labels:    map[string]string{clusterv1.ClusterNameLabel: s.cluster.Name, addonsv1.ManagedByLabel: addonsv1.ManagedByValue},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{addonsv1.NodePayloadKey: []byte(base64.StdEncoding.EncodeToString(archive))},
	}
	if r.WatchFilterValue != "" {
		secret.Labels[clusterv1.WatchLabel] = r.WatchFilterValue
	}
	return secret, controllerutil.SetOwnerReference(s.cluster, secret, r.Client.Scheme())
}
