package v1alpha1

import clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

// Conditions of a RegistryCache, each with its reasons.
const (
	// ReadyCondition is true when every other condition of the RegistryCache is as it should be.
	ReadyCondition = clusterv1.ReadyCondition

	// PausedCondition is true while the Cluster or the RegistryCache is paused: nothing is changed then.
	PausedCondition = clusterv1.PausedCondition
)

const (
	// AddressesAllocatedCondition is true when every cache has the Service address that nodes will use.
	AddressesAllocatedCondition = "AddressesAllocated"

	// AddressesAllocatedReason means that every cache has an address.
	AddressesAllocatedReason = "Allocated"
	// ServiceCIDRUnknownReason means that the Cluster names no Service CIDR, so the workload cluster's API server assigns
	// the addresses once it can be reached.
	ServiceCIDRUnknownReason = "ServiceCIDRUnknown"
	// ServiceCIDRInvalidReason means that the Cluster's Service CIDR cannot be used.
	ServiceCIDRInvalidReason = "ServiceCIDRInvalid"
	// AddressesExhaustedReason means that the band for static allocation holds no free address.
	AddressesExhaustedReason = "AddressesExhausted"
)

const (
	// CachesAvailableCondition is true when every cache runs in the workload cluster and is ready to serve.
	CachesAvailableCondition = "CachesAvailable"

	// CachesAvailableReason means that every cache has a ready replica.
	CachesAvailableReason = "Available"
	// CachesNotAvailableReason means that at least one cache has no ready replica.
	CachesNotAvailableReason = "NotAvailable"
	// ApplyFailedReason means that the workload cluster's API server rejected an object of a cache.
	ApplyFailedReason = "ApplyFailed"
)

const (
	// CertificatesValidCondition is true when every cache that needs a certificate has one that nodes trust.
	CertificatesValidCondition = "CertificatesValid"

	// CertificatesValidReason means that every certificate is valid, and that none is overdue.
	CertificatesValidReason = "Valid"
	// AuthorityRejectedReason means that the Secret of the Cluster's authority is somebody else's, cannot be used, or cannot be written.
	AuthorityRejectedReason = "AuthorityRejected"
	// CertificateNotIssuedReason means that at least one cache has no certificate.
	CertificateNotIssuedReason = "NotIssued"
	// CertificateOverdueReason means that a certificate should have been renewed some time ago.
	CertificateOverdueReason = "Overdue"
)

const (
	// MirrorsValidCondition is true when nodes are told of every mirror as the spec has it.
	MirrorsValidCondition = "MirrorsValid"

	// MirrorsValidReason means that the certificates of every mirror are those that its Secret holds now.
	MirrorsValidReason = "Valid"
	// NoMirrorsReason means that the spec has no mirrors.
	NoMirrorsReason = "NoMirrors"
	// CABundleNotUsableReason means that a Secret with the certificates of a mirror is missing, or does not hold what is accepted;
	// the message says which, and what nodes do meanwhile.
	CABundleNotUsableReason = "CABundleNotUsable"
)

const (
	// NodePayloadPublishedCondition is true when the Secret that bootstrap templates may name holds the addresses of the caches.
	NodePayloadPublishedCondition = "NodePayloadPublished"

	// NodePayloadPublishedReason means that the Secret is up to date.
	NodePayloadPublishedReason = "Published"
	// NodePayloadRejectedReason means that the Secret is somebody else's, or that the API server rejected it.
	NodePayloadRejectedReason = "Rejected"
)

const (
	// NodesConfiguredCondition is true when every node that exists does what the RegistryCache says.
	NodesConfiguredCondition = "NodesConfigured"

	// NodesConfiguredReason means that every node is configured.
	NodesConfiguredReason = "Configured"
	// NodesNotConfiguredReason means that at least one node is not configured; the message names the first of them, and why.
	NodesNotConfiguredReason = "NotConfigured"
	// ExistingNodesIgnoredReason means that the spec leaves existing nodes alone.
	ExistingNodesIgnoredReason = "ExistingIgnored"
)

const (
	// CredentialsValidCondition is true when the Secrets that caches name are as they should be, and no upstream refuses what is in
	// them: credentials and CA certificates.
	CredentialsValidCondition = "CredentialsValid"

	// CredentialsAcceptedReason means that every upstream accepts what its cache has, as far as it can be known.
	CredentialsAcceptedReason = "Accepted"
	// CredentialsNotNeededReason means that no cache names a Secret.
	CredentialsNotNeededReason = "NotNeeded"
	// CredentialsNotCheckedReason means that a cache has not told yet what its upstream answers.
	CredentialsNotCheckedReason = "NotChecked"
	// SecretNotFoundReason means that a Secret does not exist.
	SecretNotFoundReason = "SecretNotFound"
	// SecretInvalidReason means that a Secret does not hold what it should; the message names the key.
	SecretInvalidReason = "SecretInvalid"
	// UpstreamRejectedReason means that an upstream, or its token server, answered 401 or 403.
	UpstreamRejectedReason = "UpstreamRejected"
	// CredentialsWithheldReason means that the token server is not one that credentials for the upstream may be sent to.
	CredentialsWithheldReason = "Withheld"
	// UpstreamNotTrustedReason means that the certificate of an upstream is not one that the cache trusts.
	UpstreamNotTrustedReason = "UpstreamNotTrusted"
)

const (
	// VolumesHealthyCondition is true when the volume of every cache has the size that the spec says, and takes what is pulled.
	VolumesHealthyCondition = "VolumesHealthy"

	// VolumesHealthyReason means that all volumes are, as far as it can be known.
	VolumesHealthyReason = "Healthy"
	// VolumesNotReportedReason means that a cache has not told yet of its volume.
	VolumesNotReportedReason = "NotReported"
	// VolumeGrowingReason means that a volume is on its way to a larger size.
	VolumeGrowingReason = "Growing"
	// VolumeNotGrownReason means that a volume cannot have the size that the spec says; it stays as it is.
	VolumeNotGrownReason = "NotGrown"
	// VolumeFullReason means that a volume has no room for what is pulled. Pulls go on, and are not cached.
	VolumeFullReason = "Full"
	// VolumeFailingReason means that a volume refuses writes. Pulls go on, and are not cached.
	VolumeFailingReason = "Failing"
)

const (
	// CacheInUseCondition is true when nodes pull through every cache that they have pulled anything through, and around none.
	CacheInUseCondition = "CacheInUse"

	// CacheInUseReason means that nodes pull through the caches; the message names those that nothing was pulled through yet.
	CacheInUseReason = "InUse"
	// CacheNotPulledReason means that nothing was pulled through a cache yet, and that nothing is known to have gone around one.
	CacheNotPulledReason = "NotPulled"
	// CacheUseNotReportedReason means that caches do not tell what they are asked for.
	CacheUseNotReportedReason = "NotReported"
	// NoNodeConfiguredReason means that there is a cache that no node uses; the message says why.
	NoNodeConfiguredReason = "NoNodeConfigured"
	// CacheBypassedReason means that nodes which should use a cache pulled around it; the message names images and nodes.
	CacheBypassedReason = "Bypassed"
)

const (
	// VariableAppliedCondition tells what became of the variable registryCache of the Cluster, while it has one. It is no part of Ready:
	// caches run as the spec says, wherever that came from.
	VariableAppliedCondition = "VariableApplied"

	// VariableAppliedReason means that the spec is what the variable says.
	VariableAppliedReason = "Applied"
	// HandWrittenReason means that the RegistryCache is hand-written, which beats the variable.
	HandWrittenReason = "HandWritten"
	// VariableInvalidReason means that the variable is not the spec of a RegistryCache; the spec is what it last said.
	VariableInvalidReason = "Invalid"
	// VariableRejectedReason means that the API server does not accept what the variable says, such as a change of a field that is
	// immutable; the spec is what it was.
	VariableRejectedReason = "Rejected"
)

// Reasons that more than one condition uses.
const (
	// NoCachesReason means that the spec has mirrors only.
	NoCachesReason = "NoCaches"
	// ClusterNotFoundReason means that there is no Cluster of this name in this namespace.
	ClusterNotFoundReason = "ClusterNotFound"
	// ClusterDeletingReason means that the Cluster is being deleted; its caches go with it.
	ClusterDeletingReason = "ClusterDeleting"
	// ClusterNotConnectedReason means that the workload cluster cannot be reached; what runs there goes on as it is.
	ClusterNotConnectedReason = "ClusterNotConnected"
	// DeletingReason means that the RegistryCache is being deleted.
	DeletingReason = "Deleting"
	// InternalErrorReason means an unexpected error, told in the manager's log; it is tried again.
	InternalErrorReason = "InternalError"
)
