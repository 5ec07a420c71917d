package registrycache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/patch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/address"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const (
	// kubeadmServiceCIDR is what kubeadm uses when it is told nothing; CAPI passes the CIDR on only if the
	// Cluster names one (https://pkg.go.dev/k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4).
	kubeadmServiceCIDR = "10.96.0.0/12"
	// kubeadmControlPlaneKind is the kind of a control plane that kubeadm makes.
	kubeadmControlPlaneKind = "KubeadmControlPlane"
	// serviceCIDRField is how messages name where the Service CIDR comes from.
	serviceCIDRField = "Cluster spec.clusterNetwork.services.cidrBlocks[0]"
)

// allocateAddresses gives every cache an address and writes it to the status at once, before the workload cluster
// is asked for anything. An address that a cache has is kept.
func (r *Reconciler) allocateAddresses(ctx context.Context, s *scope) (ctrl.Result, error) {
	before := s.cache.DeepCopy()
	band, err := serviceBand(s.cluster)
	s.cache.Status.Caches = entries(s.cache, band)
	s.allocated = true
	if err != nil {
		s.addressing = addressFact{addonsv1.ServiceCIDRInvalidReason, err.Error()}
		return ctrl.Result{}, r.writeStatus(ctx, s, before)
	}
	if band == nil {
		s.addressing = addressFact{addonsv1.ServiceCIDRUnknownReason,
			serviceCIDRField + " is not set; the API server of the workload cluster assigns the addresses once it is connected"}
		return ctrl.Result{}, r.writeStatus(ctx, s, before)
	}
	chosen, err := choose(*band, s.cache, inUse(slices.Concat(before.Status.Caches, s.cache.Status.Caches)))
	if err != nil {
		s.addressing = addressFact{addonsv1.AddressesExhaustedReason, fmt.Sprintf("%s: %v", serviceCIDRField, err)}
	}
	if err := r.writeStatus(ctx, s, before); err != nil {
		return ctrl.Result{}, err
	}
	for _, upstream := range chosen {
		r.event(s, corev1.EventTypeNormal, "AddressAllocated", "Allocate", "The cache of %s gets %s", upstream, s.status(upstream).Endpoint)
	}
	return ctrl.Result{}, nil
}

// Allocate fills in the status of rc as the controller would, without writing it; an authority that is not there yet is one that nobody
// keeps. An error says why caches have no address.
func Allocate(cluster *clusterv1.Cluster, rc *addonsv1.RegistryCache) error {
	before := rc.Status.Caches
	band, err := serviceBand(cluster)
	rc.Status.Caches = entries(rc, band)
	if err != nil || band == nil {
		return err
	}
	if _, err := choose(*band, rc, inUse(slices.Concat(before, rc.Status.Caches))); err != nil {
		return fmt.Errorf("%s: %w", serviceCIDRField, err)
	}
	if len(rc.Status.CABundle) > 0 {
		return nil
	}
	ca, err := authority.New(time.Now())
	if err != nil {
		return err
	}
	rc.Status.CABundle = authority.Bundle{ca.Certificate}.PEM()
	return nil
}

// entries returns a status entry for each cache of the spec, in its order, with what is known of it already. Band is nil if the Service
// CIDR is not known.
func entries(rc *addonsv1.RegistryCache, band *address.Band) []addonsv1.CacheStatus {
	remembered := rememberedAddresses(rc, band)
	known := map[string]addonsv1.CacheStatus{}
	for _, entry := range rc.Status.Caches {
		known[entry.Upstream] = entry
	}
	var wanted []addonsv1.CacheStatus
	for _, cache := range rc.Spec.Caches {
		entry := known[cache.Upstream]
		entry.Upstream = cache.Upstream
		entry.ServiceName = manifests.ServiceName(cache.Upstream)
		entry.RemoteURL = manifests.RemoteURL(cache)
		if addr, err := addressOf(entry.Endpoint); err == nil {
			entry.Endpoint = endpoint(rc, cache.Upstream, addr)
		} else if addr, ok := remembered[cache.Upstream]; ok {
			entry.Endpoint = endpoint(rc, cache.Upstream, addr)
		}
		wanted = append(wanted, entry)
	}
	return wanted
}

// choose fills in the endpoints that are missing and returns the upstreams that got one. used grows by each.
func choose(band address.Band, rc *addonsv1.RegistryCache, used map[netip.Addr]bool) ([]string, error) {
	var chosen []string
	entries := rc.Status.Caches
	for i := range entries {
		if entries[i].Endpoint != "" {
			continue
		}
		addr, err := band.Next(used)
		if err != nil {
			return chosen, err
		}
		used[addr] = true
		entries[i].Endpoint = endpoint(rc, entries[i].Upstream, addr)
		chosen = append(chosen, entries[i].Upstream)
	}
	return chosen, nil
}

// serviceBand returns the band of addresses to choose from, nil if the Service CIDR is not known. Of a dual-stack
// Cluster the first CIDR counts: it is that of single-stack Services.
func serviceBand(cluster *clusterv1.Cluster) (*address.Band, error) {
	cidr := ""
	if cluster.Spec.ControlPlaneRef.Kind == kubeadmControlPlaneKind {
		cidr = kubeadmServiceCIDR
	}
	if blocks := cluster.Spec.ClusterNetwork.Services.CIDRBlocks; len(blocks) > 0 {
		cidr = blocks[0]
	}
	if cidr == "" {
		return nil, nil
	}
	band, err := address.Parse(cidr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", serviceCIDRField, err)
	}
	return &band, nil
}

// writeStatus writes the status now if it changed against before.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope, before *addonsv1.RegistryCache) error {
	if equality.Semantic.DeepEqual(before.Status, s.cache.Status) {
		return nil
	}
	written := s.cache.DeepCopy()
	if err := r.Client.Status().Patch(ctx, written, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	// The answer may hold a newer spec, which is that of the next reconcile.
	s.cache.ResourceVersion = written.ResourceVersion
	helper, err := patch.NewHelper(s.cache, r.Client)
	s.helper = helper
	return err
}

// inUse are the addresses of all endpoints.
func inUse(entries []addonsv1.CacheStatus) map[netip.Addr]bool {
	used := map[netip.Addr]bool{}
	for _, entry := range entries {
		if addr, err := addressOf(entry.Endpoint); err == nil {
			used[addr] = true
		}
	}
	return used
}

// scheme is that by which nodes reach a cache.
func scheme(cache addonsv1.Cache) string {
	if cache.TLS.Mode == addonsv1.TLSDisabled {
		return "http"
	}
	return "https"
}

// endpoint is the URL of the cache of an upstream with this address.
func endpoint(rc *addonsv1.RegistryCache, upstream string, addr netip.Addr) string {
	i := slices.IndexFunc(rc.Spec.Caches, func(c addonsv1.Cache) bool { return c.Upstream == upstream })
	if i < 0 {
		return ""
	}
	return (&url.URL{Scheme: scheme(rc.Spec.Caches[i]), Host: net.JoinHostPort(addr.String(), strconv.Itoa(manifests.RegistryPort))}).String()
}

// addressOf is the reverse of endpoint.
func addressOf(endpoint string) (netip.Addr, error) {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return netip.Addr{}, err
	}
	if parsed.Hostname() == "" {
		return netip.Addr{}, errors.New("no address")
	}
	return netip.ParseAddr(parsed.Hostname())
}
