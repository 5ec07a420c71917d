package registrycache

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// longestMessage bounds what is repeated of a report: it comes from the workload cluster.
const longestMessage = 256

// issue is a reason of a condition and its message.
type issue struct{ reason, message string }

// joined is a condition with the first reason and all messages.
func joined(make func(reason, message string) metav1.Condition, issues []issue) metav1.Condition {
	var messages []string
	for _, i := range issues {
		messages = append(messages, i.message)
	}
	return make(issues[0].reason, strings.Join(messages, "\n"))
}

// priority is that of a condition in the summary. Some of them, while nobody knows, do not make Ready unknown: a cache serves, whether or not the API server can ask
// it how it is, and whether or not anybody has pulled anything.
func priority(condition metav1.Condition) conditions.MergePriority {
	if condition.Status == metav1.ConditionUnknown {
		switch condition.Reason {
		case addonsv1.CredentialsNotCheckedReason, addonsv1.VolumesNotReportedReason, addonsv1.CacheNotPulledReason:
			return conditions.InfoMergePriority
		}
	}
	return conditions.GetDefaultMergePriorityFunc()(condition)
}

func credentialsValid(s *scope) metav1.Condition {
	if len(s.secrets) < len(s.cache.Spec.Caches) {
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	}
	var wrong, unknown []issue
	needed, failed := false, false
	for _, cache := range s.cache.Spec.Caches {
		secrets := s.secrets[cache.Upstream]
		if !secrets.access.Credentials && !secrets.access.CABundle {
			continue
		}
		needed, failed = true, failed || secrets.err != nil
		ofSecrets := secretIssues(secrets)
		refused, open := accessIssues(cache, s.facts[cache.Upstream])
		wrong = append(append(wrong, ofSecrets...), refused...)
		unknown = append(unknown, open...)
	}
	switch {
	case len(wrong) > 0:
		return joined(isFalse, wrong)
	case !needed:
		return isTrue(addonsv1.CredentialsNotNeededReason)
	case failed || s.err != nil:
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	case s.target == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; its caches go on with what they have")
	case len(unknown) > 0:
		return joined(isUnknown, unknown)
	default:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.CredentialsAcceptedReason, Message: silentImages(s)}
	}
}

func secretIssues(fact *secretsFact) []issue {
	var issues []issue
	for _, message := range fact.missing {
		issues = append(issues, issue{addonsv1.SecretNotFoundReason, message + "; what was copied before stays in use"})
	}
	for _, message := range fact.invalid {
		issues = append(issues, issue{addonsv1.SecretInvalidReason, message + "; what was copied before stays in use"})
	}
	return issues
}

// accessIssues is what the replicas of a cache say of their upstream: what is wrong, and what is not known.
func accessIssues(cache addonsv1.Cache, fact *cacheFact) (wrong, unknown []issue) {
	if fact == nil {
		return nil, nil
	}
	in := "cache of " + cache.Upstream + ": "
	for _, told := range fact.reports.told {
		message := bounded(told.Access.Message)
		switch told.Access.State {
		case report.AccessRejected:
			wrong = append(wrong, issue{addonsv1.UpstreamRejectedReason, in + "the upstream refuses the credentials: " + message + "; images that it gives to everyone are still served"})
		case report.AccessWithheld:
			wrong = append(wrong, issue{addonsv1.CredentialsWithheldReason, in + message + ", so it is asked without the credentials"})
		case report.AccessUntrusted:
			wrong = append(wrong, issue{addonsv1.UpstreamNotTrustedReason, in + "the certificate of the upstream is not trusted: " + message})
		case report.AccessUnreadable:
			unknown = append(unknown, issue{addonsv1.CredentialsNotCheckedReason, in + "the cache does not have them yet: " + message})
		case report.AccessUnchecked, report.AccessUnused:
			unknown = append(unknown, issue{addonsv1.CredentialsNotCheckedReason, in + "the upstream has not answered yet"})
		}
	}
	if fact.reports.missing || fact.readyReplicas == 0 {
		unknown = append(unknown, issue{addonsv1.CredentialsNotCheckedReason, in + "it has not told yet what the upstream answers"})
	}
	return distinct(wrong), distinct(unknown)
}

// distinct leaves out what another replica said already.
func distinct(issues []issue) []issue {
	var once []issue
	seen := map[issue]bool{}
	for _, i := range issues {
		if !seen[i] {
			seen[i] = true
			once = append(once, i)
		}
	}
	return once
}

func bounded(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > longestMessage {
		return strings.ToValidUTF8(message[:longestMessage], "") + "…"
	}
	return message
}

func volumesHealthy(s *scope) metav1.Condition {
	switch {
	case s.target == nil && s.err == nil:
		return isUnknown(addonsv1.ClusterNotConnectedReason, "The workload cluster is not connected; what runs there goes on as it is")
	case s.err != nil || len(s.facts) < len(s.cache.Spec.Caches):
		return isUnknown(addonsv1.InternalErrorReason, "Please check the log of the manager")
	}
	var wrong, growing, unknown []issue
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		in := "cache of " + cache.Upstream + ": "
		wrong = append(wrong, volumeIssues(in, fact)...)
		for _, message := range fact.volume.growing {
			growing = append(growing, issue{addonsv1.VolumeGrowingReason, in + message})
		}
		if fact.reports.missing {
			unknown = append(unknown, issue{addonsv1.VolumesNotReportedReason, in + "it has not told yet of its volume"})
		}
	}
	switch {
	case len(wrong)+len(growing) > 0:
		return joined(isFalse, append(wrong, growing...))
	case len(unknown) > 0:
		return joined(isUnknown, unknown)
	default:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.VolumesHealthyReason, Message: silentImages(s)}
	}
}

func volumeIssues(in string, fact *cacheFact) []issue {
	var issues []issue
	for _, message := range fact.volume.notGrown {
		issues = append(issues, issue{addonsv1.VolumeNotGrownReason, in + message})
	}
	for _, told := range fact.reports.told {
		switch told.Volume.State {
		case report.VolumeFull:
			issues = append(issues, issue{addonsv1.VolumeFullReason, in + "its volume has no room for what is pulled, which is served without being cached; a larger volume.size helps"})
		case report.VolumeFailing:
			issues = append(issues, issue{addonsv1.VolumeFailingReason, in + "its volume refuses writes; what is pulled is served without being cached; the log of the cache says more"})
		}
	}
	return distinct(issues)
}

// silentImages tells of caches of which nothing more can be known.
func silentImages(s *scope) string {
	var upstreams []string
	for _, cache := range s.cache.Spec.Caches {
		if fact := s.facts[cache.Upstream]; fact != nil && fact.reports.silent {
			upstreams = append(upstreams, cache.Upstream)
		}
	}
	if len(upstreams) == 0 {
		return ""
	}
	return fmt.Sprintf("The image of the cache of %s does not report; its own log tells more", strings.Join(upstreams, ", "))
}
