package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

const (
	// RegistryCacheSetFinalizer keeps a RegistryCacheSet until its RegistryCaches are gone.
	RegistryCacheSetFinalizer = "addons.cluster.x-k8s.io/registry-cache-set"

	// SetLabel is on every RegistryCache of a RegistryCacheSet and holds its name.
	SetLabel = "addons.cluster.x-k8s.io/registry-cache-set"

	// SetMetadataAnnotation on a RegistryCache of a set records, in JSON, which labels and annotations it has of the template.
	SetMetadataAnnotation = "addons.cluster.x-k8s.io/registry-cache-set-metadata"

	// SetSinceAnnotation on a RegistryCacheSet is since when it exists, in RFC 3339. Of two sets the older one wins, and a set that was
	// moved to another management cluster, or restored there, is as old as it was.
	SetSinceAnnotation = "addons.cluster.x-k8s.io/registry-cache-set-since"
)

// RegistryCacheSetSpec says which Clusters get a RegistryCache, and what it looks like.
type RegistryCacheSetSpec struct {
	// clusterSelector selects Clusters of the namespace of the RegistryCacheSet by their labels. A Cluster that is no longer selected
	// loses the RegistryCache that it has of this set. The empty selector, {}, selects every Cluster of the namespace.
	// +required
	ClusterSelector metav1.LabelSelector `json:"clusterSelector"`

	// template is what the RegistryCache of every selected Cluster is made of. A change reaches those that exist.
	// +required
	Template RegistryCacheTemplate `json:"template,omitempty,omitzero"`
}

// RegistryCacheTemplate is what RegistryCaches are made of.
type RegistryCacheTemplate struct {
	// metadata holds labels and annotations for the RegistryCaches, beside those that they get anyway. What is taken out here is taken
	// off them.
	// +optional
	ObjectMeta clusterv1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is the spec of the RegistryCaches. What cannot be changed there cannot be changed here. Secrets that it names are those of
	// the namespace, the same for all Clusters.
	// +required
	Spec RegistryCacheSpec `json:"spec,omitempty,omitzero"`
}

// RegistryCacheSetStatus is what the controller knows of the RegistryCaches of a set.
type RegistryCacheSetStatus struct {
	// conditions are Ready, Applied, RegistryCachesReady and Paused.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// matchedClusters is the number of Clusters that the selector matches, without those that are being deleted.
	// +optional
	MatchedClusters *int32 `json:"matchedClusters,omitempty"`

	// readyClusters is how many of them have a RegistryCache of this set that is ready.
	// +optional
	ReadyClusters *int32 `json:"readyClusters,omitempty"`

	// observedGeneration is the newest generation of the spec that the controller has seen.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// RegistryCacheSet gives every Cluster that its selector matches a RegistryCache of the Cluster's name. A RegistryCache that somebody
// wrote by hand and the variable registryCache of a Cluster's topology come before a set, and an older set before a younger one.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=registrycachesets,shortName=rcs,scope=Namespaced,categories=cluster-api
// +kubebuilder:metadata:labels="clusterctl.cluster.x-k8s.io/move="
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name: longer than 63 characters; accepted are at most 63, as the name is the value of a label"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether every Cluster that is matched has a RegistryCache that is ready"
// +kubebuilder:printcolumn:name="Applied",type="string",JSONPath=".status.conditions[?(@.type==\"Applied\")].status",description="Whether every Cluster that is matched has a RegistryCache as the template says"
// +kubebuilder:printcolumn:name="Clusters",type="integer",JSONPath=".status.matchedClusters",description="Clusters that the selector matches"
// +kubebuilder:printcolumn:name="Ready Clusters",type="integer",JSONPath=".status.readyClusters",description="Clusters whose RegistryCache is ready"
// +kubebuilder:printcolumn:name="Paused",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Paused\")].status",description="Whether reconciliation is paused"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description="What is missing until Ready"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
type RegistryCacheSet struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the wanted state.
	// +required
	Spec RegistryCacheSetSpec `json:"spec,omitempty,omitzero"`

	// status is the observed state.
	// +optional
	Status RegistryCacheSetStatus `json:"status,omitempty,omitzero"`
}

// GetConditions returns the conditions, as CAPI's condition helpers want it.
func (s *RegistryCacheSet) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions, as CAPI's condition helpers want it.
func (s *RegistryCacheSet) SetConditions(conditions []metav1.Condition) {
	s.Status.Conditions = conditions
}

// RegistryCacheSetList is a list of RegistryCacheSets.
//
// +kubebuilder:object:root=true
type RegistryCacheSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RegistryCacheSet `json:"items"`
}
