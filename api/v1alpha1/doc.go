// Package v1alpha1 is the API of the registry-cache add-on for Cluster API: the nouns that users write and
// read, the conditions and reasons they see, and the labels by which objects of the add-on are recognised.
//
// It holds types only. Defaults and rules are part of the CRD (structural schema and CEL), so the API server
// applies them before anything of this project runs, and `kubectl explain` shows them.
//
// +kubebuilder:object:generate=true
// +groupName=addons.cluster.x-k8s.io
package v1alpha1
