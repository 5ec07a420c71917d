package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RegistryCacheSpec says which pull-through caches a Cluster gets and how its nodes use them.
//
// +kubebuilder:validation:XValidation:rule="(has(self.caches) && size(self.caches) > 0) || (has(self.mirrors) && size(self.mirrors) > 0)",message="spec: neither caches nor mirrors given; at least one entry such as caches: [{upstream: docker.io}] is needed"
type RegistryCacheSpec struct {
	// namespace is where the caches live in the workload cluster. It is created if it does not exist, and is never removed. It has to
	// admit hostPath volumes, unless nodes.existing is Ignore. It cannot be changed. Default: kube-system.
	// +optional
	// +kubebuilder:default=kube-system
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",messageExpression="'spec.namespace: ' + self + ' is not a namespace name; accepted are lower-case letters, digits and -, such as kube-system'"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",messageExpression="'spec.namespace: ' + self + ' cannot replace ' + oldSelf + ', the field is immutable; delete the RegistryCache and create it again to move the caches'"
	Namespace string `json:"namespace,omitempty"`

	// caches are the pull-through caches, one for each upstream registry, at most 32. An entry that is taken out is forgotten by the
	// nodes first; then its Pods, its Service and its volume are removed.
	// +optional
	// +listType=map
	// +listMapKey=upstream
	// +kubebuilder:validation:MaxItems=32
	Caches []Cache `json:"caches,omitempty"`

	// mirrors are registries that exist already and serve the content of an upstream. Nodes ask them in the order given, after the
	// cache of the same upstream if there is one, and before the upstream itself. Nothing runs for them. At most 32 upstreams.
	// +optional
	// +listType=map
	// +listMapKey=upstream
	// +kubebuilder:validation:MaxItems=32
	Mirrors []Mirror `json:"mirrors,omitempty"`

	// nodes says how the nodes of the Cluster use the caches.
	// +optional
	// +kubebuilder:default={}
	Nodes Nodes `json:"nodes,omitempty,omitzero"`
}

// Cache is one pull-through cache.
type Cache struct {
	// upstream is the registry to cache, as it stands in image references: host[:port] in lower case, without scheme or path.
	// docker.io stands for Docker Hub. No image reference has to change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self.split(':')[0]).hasValue() && size(self.split(':')) <= 2 && (size(self.split(':')) < 2 || (self.split(':')[1].matches('^[1-9][0-9]{0,4}$') && int(self.split(':')[1]) <= 65535))",messageExpression="'upstream: ' + self + ' is not host[:port]; accepted are a lower-case DNS name without scheme or path and an optional port from 1 to 65535, such as quay.io or registry.example.com:5000'"
	Upstream string `json:"upstream,omitempty"`

	// remoteURL is where the cache pulls from: http or https, a host and an optional port, nothing else.
	// Default: https and the upstream; https://registry-1.docker.io for docker.io.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",messageExpression="'remoteURL: ' + self + ' is not the URL of a registry; accepted are http:// or https://, a host and an optional port, without user info, path, query or trailing slash, such as https://registry-1.docker.io'"
	RemoteURL string `json:"remoteURL,omitempty"`

	// volume is where each Pod of the cache keeps its store. Its size may grow; to change anything else, remove the cache and add it
	// again with an empty store.
	// +optional
	// +kubebuilder:default={}
	Volume Volume `json:"volume,omitempty,omitzero"`

	// garbageCollection says how long the cache keeps what it pulled.
	// +optional
	// +kubebuilder:default={}
	GarbageCollection GarbageCollection `json:"garbageCollection,omitempty,omitzero"`

	// revalidateAfter is how long a tag is answered from the cache before the upstream is asked whether it still means the same: whole
	// hours, minutes and seconds, such as 5m or 1h30m. With 0s it is asked at every pull, once for all pulls of the same moment; the
	// tag that is stored is answered while the upstream does not answer. Default: 0s.
	// +optional
	// +kubebuilder:default="0s"
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=21
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')",messageExpression="'revalidateAfter: ' + self + ' is not a duration of 0s or more; accepted are whole hours, minutes and seconds of at most six digits each, such as 5m, 1h30m or 0s (ask at every pull)'"
	RevalidateAfter *metav1.Duration `json:"revalidateAfter,omitempty"`

	// credentialsSecretRef names a Secret with the keys username and password, with which the cache pulls from its upstream. It lives
	// in the namespace of the RegistryCache and is copied to the workload cluster. When it changes, the cache takes that over
	// without a restart. Whoever reaches the cache can pull what it pulled with them. Without it the cache pulls as anybody can.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`

	// caBundleSecretRef names a Secret whose key ca.crt holds the certificates, in PEM, that the cache trusts for its upstream beside
	// those of its image. It lives in the namespace of the RegistryCache and is copied to the workload cluster.
	// +optional
	CABundleSecretRef *SecretReference `json:"caBundleSecretRef,omitempty"`

	// proxy is the egress proxy through which the cache reaches its upstream. Without it the cache connects directly.
	// +optional
	Proxy *Proxy `json:"proxy,omitempty"`

	// tls says how nodes and the cache talk to each other.
	// +optional
	// +kubebuilder:default={}
	TLS TLS `json:"tls,omitempty,omitzero"`

	// replicas is the number of Pods of the cache, from 1 to 16. Each has a store of its own, so each pulls once what it is asked for,
	// and needs the whole volume. They are spread over nodes: there is a second one as soon as a second node can take it. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Replicas *int32 `json:"replicas,omitempty"`

	// image overrides the image of the cache, [host[:port]/]name[:tag][@digest]. The image of a stock distribution registry, v3.1.2 or
	// later, may serve; it knows neither revalidateAfter nor highWatermarkPercent, and does not report. The default is what the manager's
	// flag --workload-image names.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?$')",messageExpression="'image: ' + self + ' is not the reference of an image; accepted is [host[:port]/]name[:tag][@digest] without a scheme, such as registry.example.com/registry:3'"
	Image string `json:"image,omitempty"`

	// resources are the compute resources of the cache's container. The default is requests of 20m CPU and 50Mi memory, and no limits; what
	// is given replaces all of it.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// nodeSelector restricts the cache to nodes with all of these labels. Without it the cache runs on any node.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations let the cache run on nodes with these taints. There are none by default.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
}

// SecretReference names a Secret in the namespace of the RegistryCache.
type SecretReference struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",messageExpression="'name: ' + self + ' is not the name of a Secret; accepted is a DNS subdomain, such as docker-hub'"
	Name string `json:"name,omitempty"`
}

// Proxy is an egress proxy.
//
// +kubebuilder:validation:XValidation:rule="has(self.httpProxy) || has(self.httpsProxy)",message="proxy: neither httpProxy nor httpsProxy given; accepted is at least one of them, such as httpsProxy: http://proxy.example.com:3128"
type Proxy struct {
	// httpProxy is the URL of the proxy for an upstream that is reached by http: http or https, a host and an optional port, without
	// user info.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$')",messageExpression="'httpProxy: ' + self + ' is not the URL of a proxy; accepted are http:// or https://, a host and an optional port, such as http://proxy.example.com:3128'"
	HTTPProxy string `json:"httpProxy,omitempty"`

	// httpsProxy is the URL of the proxy for an upstream that is reached by https: http or https, a host and an optional port, without
	// user info.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$')",messageExpression="'httpsProxy: ' + self + ' is not the URL of a proxy; accepted are http:// or https://, a host and an optional port, such as http://proxy.example.com:3128'"
	HTTPSProxy string `json:"httpsProxy,omitempty"`

	// noProxy are hosts, domains, addresses and CIDRs that are reached without the proxy, separated by commas and without spaces. The Pod
	// and Service networks of the Cluster, its service domain and localhost are always among them.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^[:space:]]*$')",messageExpression="'noProxy: ' + self + ' is not usable; accepted is a list with commas and without spaces, such as registry.example.com,10.0.0.0/8'"
	NoProxy string `json:"noProxy,omitempty"`
}

// TLSMode says whether a cache serves TLS.
// +kubebuilder:validation:Enum=Enabled;Disabled
type TLSMode string

const (
	// TLSEnabled lets nodes use TLS, with certificates of an authority that belongs to the Cluster.
	TLSEnabled TLSMode = "Enabled"
	// TLSDisabled lets nodes use plain HTTP.
	TLSDisabled TLSMode = "Disabled"
)

// TLS says how nodes and a cache talk to each other.
type TLS struct {
	// mode is Enabled or Disabled, and may change at any time. Enabled lets nodes reach the cache by TLS, with a certificate of an authority
	// that belongs to the Cluster and that they trust for its caches only. Disabled lets them use plain HTTP. Default: Enabled.
	// +optional
	// +kubebuilder:default=Enabled
	Mode TLSMode `json:"mode,omitempty"`
}

// VolumeType is a kind of volume.
// +kubebuilder:validation:Enum=PersistentVolumeClaim;EmptyDir
type VolumeType string

const (
	// PersistentVolumeClaimVolume keeps the store when the Pod moves.
	PersistentVolumeClaimVolume VolumeType = "PersistentVolumeClaim"
	// EmptyDirVolume lives as long as the Pod, on its node.
	EmptyDirVolume VolumeType = "EmptyDir"
)

// Volume is where a cache keeps its store.
//
// +kubebuilder:validation:XValidation:rule="!has(self.type) || !has(oldSelf.type) || self.type == oldSelf.type",messageExpression="'volume.type: ' + self.type + ' cannot replace ' + oldSelf.type + ', the field is immutable; remove the cache of this upstream and add it again to change it'"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",messageExpression="'volume.storageClassName: ' + (has(self.storageClassName) ? self.storageClassName : 'the default class') + ' cannot replace ' + (has(oldSelf.storageClassName) ? oldSelf.storageClassName : 'the default class') + ', the field is immutable; remove the cache of this upstream and add it again to change it'"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || !has(oldSelf.size) || !isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",messageExpression="'volume.size: ' + self.size + ' is smaller than ' + oldSelf.size + '; accepted is the same size or more, as volumes cannot shrink; remove the cache of this upstream and add it again to make it smaller'"
// +kubebuilder:validation:XValidation:rule="self.type == 'PersistentVolumeClaim' || !has(self.storageClassName)",messageExpression="'volume.storageClassName: ' + self.storageClassName + ' has no meaning with type EmptyDir; accepted is no value, or type PersistentVolumeClaim'"
type Volume struct {
	// type is PersistentVolumeClaim, which keeps the store when the Pod moves, or EmptyDir, which goes with the Pod. It cannot be changed.
	// Default: PersistentVolumeClaim.
	// +optional
	// +kubebuilder:default=PersistentVolumeClaim
	Type VolumeType `json:"type,omitempty"`

	// size is the size of the volume of each replica, a quantity such as 10Gi; with EmptyDir it is the size limit. It may grow, if the
	// StorageClass has allowVolumeExpansion, and cannot shrink. Default: 10Gi.
	// +optional
	// +kubebuilder:default="10Gi"
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",messageExpression="'volume.size: ' + self + ' is not a quantity greater than 0; accepted are values such as 10Gi'"
	Size *resource.Quantity `json:"size,omitempty"`

	// storageClassName is the StorageClass of the volume in the workload cluster. It cannot be changed. The default is the default class of
	// the workload cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",messageExpression="'volume.storageClassName: ' + self + ' is not the name of a StorageClass; accepted is a DNS subdomain, such as fast-ssd'"
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// GarbageCollection says how long a cache keeps what it pulled.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.ttl) || !has(self.ttl) || !(duration(oldSelf.ttl) == duration('0s') && duration(self.ttl) > duration('0s'))",messageExpression="'garbageCollection.ttl: ' + self.ttl + ' cannot replace 0s: what was cached while collection was off would never be collected (distribution#4249); remove the cache of this upstream and add it again to turn collection on'"
type GarbageCollection struct {
	// ttl is how long a blob is kept after it was pulled from the upstream, also if it is used: whole hours, minutes and seconds, such as
	// 168h or 1h30m. Nothing expires while the upstream cannot be reached. 0s turns this off for good; blobs then go only when the volume
	// fills. Default: 168h.
	// +optional
	// +kubebuilder:default="168h"
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=21
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')",messageExpression="'garbageCollection.ttl: ' + self + ' is not a duration of 0s or more; accepted are whole hours, minutes and seconds of at most six digits each, such as 168h, 1h30m or 0s (off)'"
	TTL *metav1.Duration `json:"ttl,omitempty"`

	// highWatermarkPercent is the share of the volume, in percent from 10 to 95, above which the blobs that were not used for longest are
	// removed, down to 5 percent below it. Default: 85.
	// +optional
	// +kubebuilder:default=85
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=95
	HighWatermarkPercent *int32 `json:"highWatermarkPercent,omitempty"`
}

// Nodes says how the nodes of a Cluster use its caches.
type Nodes struct {
	// certsDir is the directory in which containerd looks for registry host configuration, its config_path: an absolute path. Where
	// containerd has none yet, nodes set it at their boot. Default: /etc/containerd/certs.d.
	// +optional
	// +kubebuilder:default="/etc/containerd/certs.d"
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$')",messageExpression="'nodes.certsDir: ' + self + ' is not usable; accepted is one absolute path of letters, digits, dot, dash and underscore without a trailing slash, such as /etc/containerd/certs.d'"
	CertsDir string `json:"certsDir,omitempty"`

	// existing says what happens to nodes that exist already. Configure keeps them as the spec wants them, and lets them forget a
	// cache before it is removed; it runs a DaemonSet in the workload cluster. Ignore leaves them alone: only new Machines get
	// changes. Default: Configure.
	// +optional
	// +kubebuilder:default=Configure
	Existing ExistingNodes `json:"existing,omitempty"`
}

// ExistingNodes says what happens to nodes that exist already.
// +kubebuilder:validation:Enum=Configure;Ignore
type ExistingNodes string

const (
	// ExistingNodesConfigure keeps them as the spec wants them.
	ExistingNodesConfigure ExistingNodes = "Configure"
	// ExistingNodesIgnore leaves them alone.
	ExistingNodesIgnore ExistingNodes = "Ignore"
)

// RegistryCacheStatus is what the controller knows of the caches of a Cluster.
type RegistryCacheStatus struct {
	// conditions are Ready, AddressesAllocated, CertificatesValid, CachesAvailable, MirrorsValid, NodePayloadPublished, NodesConfigured,
	// CredentialsValid, VolumesHealthy, VariableApplied and Paused.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// caches are the caches that nodes are told of, with the address that each keeps for its life.
	// +optional
	// +listType=map
	// +listMapKey=upstream
	// +kubebuilder:validation:MaxItems=64
	Caches []CacheStatus `json:"caches,omitempty"`

	// caBundle holds the certificates, in PEM, that nodes trust for caches that serve TLS: that of the Cluster's authority, and while it is
	// being replaced that of the one before.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	CABundle []byte `json:"caBundle,omitempty"`

	// mirrorCABundles are the certificates that nodes are told of for mirrors: those that spec.mirrors[].hosts[].caBundleSecretRef named
	// when it last named something usable.
	// +optional
	// +listType=map
	// +listMapKey=upstream
	// +listMapKey=host
	// +kubebuilder:validation:MaxItems=256
	MirrorCABundles []MirrorCABundle `json:"mirrorCABundles,omitempty"`

	// nodes counts the nodes of the Cluster. It is not set before nodes report, nor with spec.nodes.existing Ignore.
	// +optional
	Nodes *NodesStatus `json:"nodes,omitempty"`

	// summary is what kubectl get shows.
	// +optional
	Summary Summary `json:"summary,omitempty,omitzero"`

	// observedGeneration is the newest generation of the spec that the controller has seen.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// CacheStatus is what the controller knows of one cache.
type CacheStatus struct {
	// upstream is the registry that the cache serves, as the spec gives it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	Upstream string `json:"upstream,omitempty"`

	// serviceName is the name of the cache's Service in the workload cluster.
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// endpoint is the URL at which nodes reach the cache: https or http, as tls.mode says, and an address that does not change while the
	// cache lives.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// remoteURL is where the cache pulls from, with the default filled in.
	// +optional
	RemoteURL string `json:"remoteURL,omitempty"`

	// readyReplicas is how many replicas of the cache are ready to serve.
	// +optional
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`

	// inUse says whether nodes pull through the cache: InUse, Bypassed if nodes that are told of it pulled around it, or NotUsed if
	// no node is configured to use it. It is not set while that is not known.
	// +optional
	InUse CacheUse `json:"inUse,omitempty"`
}

// CacheUse says whether nodes pull through a cache.
// +kubebuilder:validation:Enum=InUse;Bypassed;NotUsed
type CacheUse string

const (
	// CacheInUse means that nodes pull through the cache.
	CacheInUse CacheUse = "InUse"
	// CacheBypassed means that nodes which are told of the cache pulled around it.
	CacheBypassed CacheUse = "Bypassed"
	// CacheNotUsed means that no node is configured to use the cache.
	CacheNotUsed CacheUse = "NotUsed"
)

// Summary is what kubectl get shows: a column of kubectl can neither count nor join. Programs read the fields that it is made from.
type Summary struct {
	// upstreams are those that have a cache or mirrors, in the order of the spec, with commas. After the third only their number is
	// given: docker.io,quay.io,ghcr.io,+2.
	// +optional
	Upstreams string `json:"upstreams,omitempty"`

	// caches is how many caches have a ready replica, of all in the spec: 2/2.
	// +optional
	Caches string `json:"caches,omitempty"`

	// nodes is how many nodes are configured, of all: 3/3. It is not set where status.nodes is not.
	// +optional
	Nodes string `json:"nodes,omitempty"`
}

// NodesStatus counts the nodes of a Cluster.
type NodesStatus struct {
	// total is the number of nodes that could use the caches.
	// +optional
	Total *int32 `json:"total,omitempty"`

	// configured is the number of nodes that have taken over the desired state.
	// +optional
	Configured *int32 `json:"configured,omitempty"`
}

// RegistryCache gives the Cluster of the same name and namespace a pull-through cache for each upstream
// registry, and lets every new Machine of that Cluster use them from its first boot.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=registrycaches,shortName=regcache,scope=Namespaced,categories=cluster-api
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether the caches are as the spec wants them"
// +kubebuilder:printcolumn:name="Upstreams",type="string",JSONPath=".status.summary.upstreams",description="Registries that have a cache or mirrors"
// +kubebuilder:printcolumn:name="Caches",type="string",JSONPath=".status.summary.caches",description="Caches that serve, of all"
// +kubebuilder:printcolumn:name="Nodes",type="string",JSONPath=".status.summary.nodes",description="Nodes that are configured, of all"
// +kubebuilder:printcolumn:name="Paused",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Paused\")].status",description="Whether reconciliation is paused"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description="What is missing until Ready"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
type RegistryCache struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object. The name is that of the Cluster.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the wanted state.
	// +required
	Spec RegistryCacheSpec `json:"spec,omitempty,omitzero"`

	// status is the observed state.
	// +optional
	Status RegistryCacheStatus `json:"status,omitempty,omitzero"`
}

// GetConditions returns the conditions, as CAPI's condition helpers want it.
func (r *RegistryCache) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions, as CAPI's condition helpers want it.
func (r *RegistryCache) SetConditions(conditions []metav1.Condition) {
	r.Status.Conditions = conditions
}

// RegistryCacheList is a list of RegistryCaches.
//
// +kubebuilder:object:root=true
type RegistryCacheList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RegistryCache `json:"items"`
}
