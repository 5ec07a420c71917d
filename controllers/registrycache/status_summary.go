package registrycache

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// namedUpstreams is how many upstreams a line of kubectl get has room for.
const namedUpstreams = 3

// summary is made from the spec and the rest of the status, so it says what is known, also while nobody can look.
func summary(rc *addonsv1.RegistryCache) addonsv1.Summary {
	return addonsv1.Summary{Upstreams: upstreamsInBrief(rc.Spec), Caches: cachesInBrief(rc), Nodes: nodesInBrief(rc.Status.Nodes)}
}

func upstreamsInBrief(spec addonsv1.RegistryCacheSpec) string {
	var all []string
	for _, cache := range spec.Caches {
		all = append(all, cache.Upstream)
	}
	for _, mirror := range spec.Mirrors {
		if !slices.Contains(all, mirror.Upstream) {
			all = append(all, mirror.Upstream)
		}
	}
	if more := len(all) - namedUpstreams; more > 0 {
		all = append(all[:namedUpstreams], fmt.Sprintf("+%d", more))
	}
	return strings.Join(all, ",")
}

// cachesInBrief does not count a cache that is on its way out.
func cachesInBrief(rc *addonsv1.RegistryCache) string {
	if len(rc.Spec.Caches) == 0 {
		return ""
	}
	serving := 0
	for _, cache := range rc.Spec.Caches {
		if slices.ContainsFunc(rc.Status.Caches, func(c addonsv1.CacheStatus) bool {
			return c.Upstream == cache.Upstream && ptr.Deref(c.ReadyReplicas, 0) > 0
		}) {
			serving++
		}
	}
	return fmt.Sprintf("%d/%d", serving, len(rc.Spec.Caches))
}

func nodesInBrief(nodes *addonsv1.NodesStatus) string {
	if nodes == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", ptr.Deref(nodes.Configured, 0), ptr.Deref(nodes.Total, 0))
}
