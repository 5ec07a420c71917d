package v1alpha1

// Mirror is what serves the content of one upstream beside the upstream itself.
type Mirror struct {
	// upstream is the registry as it stands in image references: host[:port] in lower case, without scheme or path. It may have a cache
	// too.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self.split(':')[0]).hasValue() && size(self.split(':')) <= 2 && (size(self.split(':')) < 2 || (self.split(':')[1].matches('^[1-9][0-9]{0,4}$') && int(self.split(':')[1]) <= 65535))",messageExpression="'upstream: ' + self + ' is not host[:port]; accepted are a lower-case DNS name without scheme or path and an optional port from 1 to 65535, such as quay.io or registry.example.com:5000'"
	Upstream string `json:"upstream,omitempty"`

	// hosts are the mirrors, asked in this order, at most 8.
	// +required
	// +listType=map
	// +listMapKey=host
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Hosts []MirrorHost `json:"hosts,omitempty"`
}

// MirrorHost is one mirror.
//
// +kubebuilder:validation:XValidation:rule="!has(self.caBundleSecretRef) || self.host.startsWith('https://')",messageExpression="'caBundleSecretRef: ' + self.caBundleSecretRef.name + ' has no meaning for ' + self.host + ', which is reached without TLS; accepted is no value, or a host with https://'"
type MirrorHost struct {
	// host is the base URL of the mirror: http or https, a host, an optional port and an optional path. An IPv6 address stands in
	// brackets. Requests go to its path /v2, see overridePath.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*|[[](([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(([0-9a-f]{1,4}:){0,6}[0-9a-f]{1,4})?::(([0-9a-f]{1,4}:){0,6}[0-9a-f]{1,4})?)[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[A-Za-z0-9._~-]+)*$') && !self.matches('/[.][.]?(/|$)') && (!self.contains('[') || self.matches('^https?://[[]([0-9a-f]*:){2,7}[0-9a-f]*[]]'))",messageExpression="'host: ' + self + ' is not the URL of a mirror; accepted are http:// or https://, a host (an IPv6 address in brackets), an optional port and an optional path, without user info, query, . and .. in the path and trailing slash, such as https://mirror.example.com:8443/docker'"
	Host string `json:"host,omitempty"`

	// capabilities are what the mirror is trusted with: pull serves content by digest, resolve beside it says which digest a tag means,
	// which nobody can check. Accepted are [pull] and [pull, resolve]. Default: [pull].
	// +optional
	// +listType=set
	// +kubebuilder:default={pull}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="self.exists(c, c == 'pull')",message="capabilities: resolve without pull: containerd asks a mirror for a tag only if it may pull from it; accepted are [pull] and [pull, resolve]"
	Capabilities []MirrorCapability `json:"capabilities,omitempty"`

	// caBundleSecretRef names a Secret whose key ca.crt holds the certificates, in PEM, that nodes trust for this mirror beside
	// those of their system. It lives in the namespace of the RegistryCache; its content, of at most 32 KiB, reaches the nodes.
	// +optional
	CABundleSecretRef *SecretReference `json:"caBundleSecretRef,omitempty"`

	// overridePath says that the path of host is the root of the API already, so that /v2 is not put behind it. Default: false.
	// +optional
	OverridePath *bool `json:"overridePath,omitempty"`
}

// MirrorCapability is what a mirror is trusted with.
// +kubebuilder:validation:Enum=pull;resolve
type MirrorCapability string

const (
	// MirrorPull serves content by digest.
	MirrorPull MirrorCapability = "pull"
	// MirrorResolve says which digest a tag means.
	MirrorResolve MirrorCapability = "resolve"
)

// MirrorCABundle is what nodes trust for one mirror.
type MirrorCABundle struct {
	// upstream is the registry whose content the mirror serves, as the spec gives it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	Upstream string `json:"upstream,omitempty"`

	// host is the URL of the mirror, as the spec gives it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`

	// caBundle are the certificates in PEM.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
}
