package v1alpha1

// Conditions of a RegistryCacheSet beside Ready and Paused, each with its reasons.
const (
	// AppliedCondition is true when every Cluster that the set matches has a RegistryCache of this set, as its template says. The
	// message names the first of the others, and why.
	AppliedCondition = "Applied"

	// AppliedReason means that all have.
	AppliedReason = "Applied"
	// SelectorInvalidReason means that the selector cannot be read. What the set has applied stays as it is.
	SelectorInvalidReason = "SelectorInvalid"
	// RejectedReason means that the API server does not accept a RegistryCache; the message holds its answer. The RegistryCache stays as
	// it is.
	RejectedReason = "Rejected"
	// OverruledReason means that something else says what the RegistryCache of a Cluster is, and comes before this set: a RegistryCache
	// that was written by hand, the variable of the Cluster's topology, or an older set.
	OverruledReason = "Overruled"
	// WaitingReason means that something has to end first: the pause of a Cluster, or the removal of its former RegistryCache.
	WaitingReason = "Waiting"
)

const (
	// RegistryCachesReadyCondition is true when every RegistryCache of the set is ready.
	RegistryCachesReadyCondition = "RegistryCachesReady"

	// RegistryCachesReadyReason means that all are.
	RegistryCachesReadyReason = "Ready"
	// RegistryCachesNotReadyReason means that at least one is not; it tells why in its own conditions.
	RegistryCachesNotReadyReason = "NotReady"
)
