package registrycacheset

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// namedClusters is how many Clusters a message names.
const namedClusters = 10

// setStatus turns the facts on the scope into counts and conditions. It asks nobody, and messages say the same as long as the facts are
// the same. Counts stay as they are when nobody looked.
func setStatus(s *scope) {
	if s.claims != nil {
		s.set.Status.MatchedClusters = ptr.To(int32(len(s.claims)))
		s.set.Status.ReadyClusters = ptr.To(int32(len(s.claims) - len(notReady(s)) - len(foreign(s))))
	}
	for kind, condition := range map[string]metav1.Condition{
		addonsv1.AppliedCondition:             applied(s),
		addonsv1.RegistryCachesReadyCondition: registryCachesReady(s),
	} {
		condition.Type = kind
		conditions.Set(s.set, condition)
	}
	// It fails only if no condition types are given.
	_ = conditions.SetSummaryCondition(s.set, s.set, addonsv1.ReadyCondition,
		conditions.ForConditionTypes{addonsv1.AppliedCondition, addonsv1.RegistryCachesReadyCondition},
		conditions.CustomMergeStrategy{MergeStrategy: conditions.DefaultMergeStrategy(conditions.ComputeReasonFunc(
			conditions.GetDefaultComputeMergeReasonFunc(clusterv1.NotReadyReason, clusterv1.ReadyUnknownReason, clusterv1.ReadyReason),
		))},
	)
}

// applied has the reason that a user can do most about. The Clusters of one reason are together, in the order of their names.
func applied(s *scope) metav1.Condition {
	switch {
	case s.deleting():
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: addonsv1.DeletingReason, Message: list("The RegistryCacheSet is being deleted", s.leaving)}
	case s.invalid != "":
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: addonsv1.SelectorInvalidReason, Message: s.invalid + "; what was applied stays as it is"}
	case s.claims == nil:
		return internalError()
	}
	var reason string
	var all []verdict
	for _, outcome := range []string{addonsv1.RejectedReason, addonsv1.InternalErrorReason, addonsv1.OverruledReason, addonsv1.WaitingReason} {
		found := verdicts(s.claims, outcome)
		if outcome == addonsv1.WaitingReason {
			found = append(found, s.leaving...)
		}
		if len(found) > 0 && reason == "" {
			reason = outcome
		}
		all = append(all, found...)
	}
	switch {
	case len(all) > 0:
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: list(fmt.Sprintf("Not as the template says: %d of %d Clusters", len(all), len(s.claims)+len(s.leaving)), all)}
	case s.err != nil:
		return internalError()
	default:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.AppliedReason}
	}
}

// registryCachesReady looks at the RegistryCaches of the set; those that other Clusters have are not its own.
func registryCachesReady(s *scope) metav1.Condition {
	waiting := notReady(s)
	switch {
	case s.deleting():
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: addonsv1.DeletingReason, Message: "The RegistryCacheSet is being deleted"}
	case s.claims == nil && s.invalid != "":
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: addonsv1.SelectorInvalidReason, Message: "The selector cannot be read"}
	case s.claims == nil:
		return internalError()
	case len(waiting) > 0:
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: addonsv1.RegistryCachesNotReadyReason,
			Message: fmt.Sprintf("The RegistryCache of %d Clusters is not ready: %s", len(waiting), names(waiting))}
	default:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: addonsv1.RegistryCachesReadyReason}
	}
}

// own says whether the Cluster has a RegistryCache of the set.
func (c *claim) own(s *scope) bool { return c.cache != nil && metav1.IsControlledBy(c.cache, s.set) }

// foreign are the Clusters that have no RegistryCache of the set.
func foreign(s *scope) []*claim {
	return slices.DeleteFunc(slices.Clone(s.claims), func(c *claim) bool { return c.own(s) })
}

// notReady are the names of Clusters whose RegistryCache is of the set and not ready.
func notReady(s *scope) []string {
	var names []string
	for _, c := range s.claims {
		if c.own(s) && !conditions.IsTrue(c.cache, addonsv1.ReadyCondition) {
			names = append(names, c.cluster.Name)
		}
	}
	return names
}

// verdicts are the Clusters with an outcome.
func verdicts(claims []*claim, outcome string) []verdict {
	var found []verdict
	for _, c := range claims {
		if c.outcome == outcome {
			found = append(found, verdict{c.cluster.Name, c.why})
		}
	}
	return found
}

// list is a headline with a line for each of the first Clusters.
func list(headline string, clusters []verdict) string {
	lines := []string{headline}
	for _, c := range clusters[:min(len(clusters), namedClusters)] {
		lines = append(lines, fmt.Sprintf("* Cluster %s: %s", c.cluster, c.why))
	}
	if more := len(clusters) - namedClusters; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// names are the first of these, and how many more there are.
func names(clusters []string) string {
	text := strings.Join(clusters[:min(len(clusters), namedClusters)], ", ")
	if more := len(clusters) - namedClusters; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func appliedMessage(set *addonsv1.RegistryCacheSet) string {
	if condition := conditions.Get(set, addonsv1.AppliedCondition); condition != nil {
		return condition.Message
	}
	return ""
}

func internalError() metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionUnknown, Reason: addonsv1.InternalErrorReason, Message: "Please check the log of the manager"}
}
