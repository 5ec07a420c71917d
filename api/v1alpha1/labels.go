package v1alpha1

const (
	// RegistryCacheFinalizer keeps a RegistryCache until its objects in the workload cluster are gone.
	RegistryCacheFinalizer = "addons.cluster.x-k8s.io/registry-cache"

	// ManagedByLabel and ManagedByValue mark every object that this project writes.
	// Objects without them are never changed and never removed.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "capi-registry-cache"

	// NameLabel and NameValue are put on every object and Pod of a cache.
	NameLabel = "app.kubernetes.io/name"
	// NameValue is the value of NameLabel.
	NameValue = "registry-cache"

	// InstanceLabel holds the Service name of the cache that an object belongs to.
	InstanceLabel = "app.kubernetes.io/instance"

	// OptOutAnnotation on a bootstrap config keeps its Machines from being told of the caches. OptOutValue is the only value.
	OptOutAnnotation = "addons.cluster.x-k8s.io/registry-cache"
	// OptOutValue is the value of OptOutAnnotation.
	OptOutValue = "skip"

	// ReferencedLabel is on Secrets of users that a RegistryCache names: the manager watches no others. It may be put there before, so
	// that a new Secret is seen at once.
	ReferencedLabel = "addons.cluster.x-k8s.io/registry-cache-reference"

	// ClusterVariable is the name of the ClusterClass variable whose value is the spec of the RegistryCache of a Cluster.
	ClusterVariable = "registryCache"

	// UpstreamAnnotation names the upstream of the cache that an object belongs to, as the spec gives it.
	UpstreamAnnotation = "addons.cluster.x-k8s.io/registry-cache-upstream"

	// AddressesAnnotation on a RegistryCache holds the addresses of its caches, a JSON object of upstreams and addresses. It is a copy of
	// those in the status, which is lost when `clusterctl move`, or a backup, makes the object anew: it is read for caches that have none there.
	AddressesAnnotation = "addons.cluster.x-k8s.io/registry-cache-addresses"

	// RotateCAAnnotation on a RegistryCache asks for a new certificate authority; each value asks once. On the Secret of the authority it
	// is the value that was heeded.
	RotateCAAnnotation = "addons.cluster.x-k8s.io/registry-cache-rotate-ca"
)
