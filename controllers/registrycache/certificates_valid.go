package registrycache

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

// overdueAfter is how long after its time a certificate may be renewed before somebody has to know.
const overdueAfter = 24 * time.Hour

// certificatesValid looks at the authority, then at the certificates of the caches.
func certificatesValid(s *scope) metav1.Condition {
	switch {
	case s.authority.rejected != "":
		return isFalse(addonsv1.AuthorityRejectedReason, s.authority.rejected+"; caches that run go on with the certificates that they have")
	case len(s.cache.Spec.Caches) == 0:
		return isTrue(addonsv1.CertificatesValidReason)
	case s.err != nil || s.authority.ca == nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	case s.target == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; its caches go on with the certificates that they have")
	default:
		return certified(s)
	}
}

func certified(s *scope) metav1.Condition {
	var missing, overdue []string
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		switch {
		case fact == nil || (fact.certificate == nil && !fact.uncertified):
			missing = append(missing, cache.Upstream)
		case !fact.uncertified && s.now.After(authority.RenewAt(fact.certificate).Add(overdueAfter)):
			overdue = append(overdue, cache.Upstream)
		}
	}
	switch {
	case len(missing) > 0:
		return isFalse(addonsv1.CertificateNotIssuedReason, fmt.Sprintf("The cache of %s has no certificate; nodes pull from the upstream until it has one", strings.Join(missing, ", ")))
	case len(overdue) > 0:
		return isFalse(addonsv1.CertificateOverdueReason, fmt.Sprintf("The certificate of the cache of %s should have been renewed; the Events, and the log of the manager, say what keeps it", strings.Join(overdue, ", ")))
	default:
		return isTrue(addonsv1.CertificatesValidReason)
	}
}
