package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// workloadCluster makes sure that the manager reaches it. From here the way may be another one.
func workloadCluster(ctx context.Context, s *subject) (finding, error) {
	workload, err := s.Connect(ctx, s.Cluster)
	if err == nil {
		err = workload.Answers(ctx)
	}
	if err == nil {
		s.workload = workload
	}
	switch {
	case s.disconnected():
		return broken("the manager is not connected to the workload cluster; from here "+said(err),
			fmt.Sprintf("Normal until the control plane answers. Else look at Secret %s-kubeconfig, and at the way from the manager to the address in it: %s",
				s.Cluster.Name, s.here("describe cluster "+s.Cluster.Name))), nil
	case apierrors.IsForbidden(err):
		return finding{}, err
	case err != nil:
		s.unknown = fmt.Errorf("the workload cluster cannot be reached from here, so nothing in it was looked at: %w", err)
		return unchecked("it cannot be reached from here, although the manager is connected: %v", err), nil
	}
	return ok("its API server answers"), nil
}

// disconnected tells what the manager says of it.
func (s *subject) disconnected() bool {
	for _, kind := range []string{v1alpha1.CachesAvailableCondition, v1alpha1.NodesConfiguredCondition} {
		if c := apimeta.FindStatusCondition(s.rc.Status.Conditions, kind); c != nil && c.Reason == v1alpha1.ClusterNotConnectedReason {
			return true
		}
	}
	return false
}

func said(err error) string {
	if err == nil {
		return "its API server answers"
	}
	return "it is not reached either: " + err.Error()
}

// objects makes sure that what the caches consist of is there, and that each has its address for itself.
func objects(ctx context.Context, s *subject) (finding, error) {
	if f, not := s.notReached(); not {
		return f, nil
	}
	for _, cache := range s.rc.Spec.Caches {
		found, err := s.cacheObjects(ctx, cache)
		if err != nil || found.state == Broken {
			return found, err
		}
	}
	for _, kind := range []string{v1alpha1.CachesAvailableCondition, v1alpha1.NodesConfiguredCondition} {
		if c := apimeta.FindStatusCondition(s.rc.Status.Conditions, kind); c != nil && c.Reason == v1alpha1.ApplyFailedReason {
			return broken("the workload cluster refuses an object: "+c.Message, "The message names the field. If it is about Pod Security, see docs/access.md; if about a quota, raise it"), nil
		}
	}
	return ok("StatefulSets and Services are there, with the addresses that nodes are told"), nil
}

func (s *subject) cacheObjects(ctx context.Context, cache v1alpha1.Cache) (finding, error) {
	status := s.status(cache.Upstream)
	if status == nil {
		return unchecked("the status has no entry for %s", cache.Upstream), nil
	}
	meta := metav1.ObjectMeta{Namespace: s.rc.Spec.Namespace, Name: manifests.ServiceName(cache.Upstream)}
	service := &corev1.Service{ObjectMeta: meta}
	found, err := there(ctx, s.workload.Client, service)
	if err != nil {
		return finding{}, err
	}
	address := addressOf(status.Endpoint)
	if !found || service.Spec.ClusterIP != address {
		return s.serviceTrouble(ctx, cache, service, found, address)
	}
	set := &appsv1.StatefulSet{ObjectMeta: meta}
	if found, err = there(ctx, s.workload.Client, set); err != nil || found {
		return ok("the cache of %s", cache.Upstream), err
	}
	return broken(fmt.Sprintf("the cache of %s has no StatefulSet %s/%s", cache.Upstream, meta.Namespace, meta.Name), s.madeAnew()), nil
}

// serviceTrouble tells whether somebody else has the address.
func (s *subject) serviceTrouble(ctx context.Context, cache v1alpha1.Cache, service *corev1.Service, found bool, address string) (finding, error) {
	message := fmt.Sprintf("the cache of %s has no Service %s/%s", cache.Upstream, service.Namespace, service.Name)
	if found {
		message = fmt.Sprintf("Service %s/%s of the cache of %s has the address %s, and nodes are told %s", service.Namespace, service.Name, cache.Upstream, service.Spec.ClusterIP, address)
	}
	services := &corev1.ServiceList{}
	if err := s.workload.Client.List(ctx, services); err != nil && !apierrors.IsForbidden(err) {
		return finding{}, err
	}
	for _, other := range services.Items {
		if other.Spec.ClusterIP == address && other.UID != service.UID {
			name := other.Namespace + "/" + other.Name
			return broken(fmt.Sprintf("%s; %s is taken by Service %s", message, address, name),
				fmt.Sprintf("Delete Service %s, or create it without this clusterIP; or let the manager, once it works on the RegistryCache, give the cache another address and tell the nodes", name)), nil
		}
	}
	return broken(message, s.madeAnew()), nil
}

func (s *subject) madeAnew() string {
	return "The manager makes it anew within seconds. If it does not, its log and the Events say why: " + s.here("describe registrycache "+s.Cluster.Name)
}

// addressOf is the address in an endpoint, as a Service has it.
func addressOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return ""
	}
	return address.String()
}
