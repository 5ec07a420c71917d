package registrycache

import (
	"encoding/json"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/address"
)

// The status is lost when clusterctl moves a RegistryCache or a backup brings it back, and the workload cluster, whose Services have the
// addresses, may not be connected for minutes. In between the node payload would name addresses that are chosen anew, which are other
// ones if caches were added, removed or ordered otherwise since. So the addresses are in an annotation, too.

// rememberAddresses makes the annotation a copy of the addresses in the status, once allocateAddresses has read the annotation into it. A
// reconcile that ended before, by an error or as there is no Cluster yet, may be the first after a move: the status is empty then (I5).
func rememberAddresses(s *scope) {
	if !s.allocated {
		return
	}
	addresses := map[string]netip.Addr{}
	for _, entry := range s.cache.Status.Caches {
		if addr, err := addressOf(entry.Endpoint); err == nil {
			addresses[entry.Upstream] = addr
		}
	}
	if len(addresses) == 0 {
		delete(s.cache.Annotations, addonsv1.AddressesAnnotation)
		return
	}
	document, err := json.Marshal(addresses)
	if err != nil {
		return // not of a map of strings and addresses, which has its keys in order
	}
	metav1.SetMetaDataAnnotation(&s.cache.ObjectMeta, addonsv1.AddressesAnnotation, string(document))
}

// rememberedAddresses are those in the annotation, by upstream. Users may change it, or copy it to another Cluster: what is outside of the
// Service CIDR, if that is known, and an address that two caches have are left out, and an annotation that cannot be read is as good as none.
func rememberedAddresses(rc *addonsv1.RegistryCache, band *address.Band) map[string]netip.Addr {
	addresses, used := map[string]netip.Addr{}, inUse(rc.Status.Caches)
	document, found := rc.Annotations[addonsv1.AddressesAnnotation]
	if !found || json.Unmarshal([]byte(document), &addresses) != nil {
		return nil
	}
	usable := map[string]netip.Addr{}
	for _, cache := range rc.Spec.Caches {
		addr := addresses[cache.Upstream]
		if !addr.IsValid() || used[addr] || band != nil && !band.CIDR().Contains(addr) {
			continue
		}
		used[addr] = true
		usable[cache.Upstream] = addr
	}
	return usable
}
