package topology

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// scope is one reconcile: what it is about, and the facts that phases find.
type scope struct {
	cluster *clusterv1.Cluster
	// cache is the RegistryCache of the Cluster, nil if there is none.
	cache *addonsv1.RegistryCache
	// asked: the Cluster has the variable, and value is what it holds.
	asked bool
	value apiextensionsv1.JSON
	// wanted is the spec that the variable means, with defaults.
	wanted *addonsv1.RegistryCacheSpec
	// refusal is why the variable is not applied; nil: it is.
	refusal *refusal
	// created: the RegistryCache was made just now. The manager does not know it yet, and is woken when it does.
	created bool
	// outdated: the RegistryCache is another than the manager knew, so that it has to look again.
	outdated bool
	// done: no later phase has anything to do.
	done bool
}

// refusal is why a variable is not applied.
type refusal struct {
	// reason is a reason of the condition VariableApplied, message its message.
	reason, message string
	// detail is what an Event may say beyond the message.
	detail string
}

// refuse ends the reconcile of a variable that is not applied.
func (s *scope) refuse(reason, message, detail string) {
	s.refusal, s.done = &refusal{reason: reason, message: message, detail: detail}, true
}
