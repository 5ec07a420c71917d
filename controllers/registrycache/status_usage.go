package registrycache

import (
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// cacheInUse says whether nodes pull through the caches. It is true as soon as one is used and none is known not to be: a cache that nobody
// needs is no fault.
func cacheInUse(s *scope) metav1.Condition {
	switch {
	case len(s.cache.Spec.Caches) == 0:
		return isTrue(addonsv1.NoCachesReason)
	case s.err != nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	case s.target == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; its nodes go on as they are")
	}
	var bypassed, unused []issue
	var used bool
	var notPulled, silent []string
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		if fact == nil {
			fact = &cacheFact{}
		}
		switch s.inUse(cache.Upstream) {
		case addonsv1.CacheBypassed:
			bypassed = append(bypassed, issue{addonsv1.CacheBypassedReason, cachePrefix(cache.Upstream) + cmp.Or(fact.usage.said, "nodes pulled around it")})
		case addonsv1.CacheNotUsed:
			unused = append(unused, issue{addonsv1.NoNodeConfiguredReason, cachePrefix(cache.Upstream) + cmp.Or(fact.usage.said, "no node uses it")})
		case addonsv1.CacheInUse:
			used = true
		default:
			if fact.usage.reported {
				notPulled = append(notPulled, cache.Upstream)
			} else {
				silent = append(silent, cache.Upstream)
			}
		}
	}
	message := notKnown(notPulled, silent)
	switch {
	case len(bypassed)+len(unused) > 0:
		return joined(isFalse, append(bypassed, unused...))
	case used:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.CacheInUseReason, Message: message}
	case len(notPulled) > 0:
		return isUnknown(addonsv1.CacheNotPulledReason, message)
	default:
		return isUnknown(addonsv1.CacheUseNotReportedReason, message)
	}
}

// inUse is what the status says of a cache.
func (s *scope) inUse(upstream string) addonsv1.CacheUse {
	if entry := s.status(upstream); entry != nil {
		return entry.InUse
	}
	return ""
}

func notKnown(notPulled, silent []string) string {
	var messages []string
	if len(notPulled) > 0 {
		messages = append(messages, fmt.Sprintf("Nothing has been pulled through the cache of %s yet", strings.Join(notPulled, ", ")))
	}
	if len(silent) > 0 {
		messages = append(messages, fmt.Sprintf("The cache of %s does not tell whether it is asked for anything", strings.Join(silent, ", ")))
	}
	return strings.Join(messages, "\n")
}
