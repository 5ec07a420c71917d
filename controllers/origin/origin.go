// Package origin tells who keeps a RegistryCache, so that the controllers that make RegistryCaches stay out of each other's way.
//
// The answer is in the controller reference of the object, not in a label: the API server admits only one, garbage collection follows
// it, clusterctl moves it along, and a user takes an object into their own hands by removing it. The reference to the Cluster that every
// RegistryCache has for garbage collection is not a controller reference and does not count.
package origin

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// Origin is who keeps a RegistryCache.
type Origin string

// The origins of a RegistryCache. Each beats those that come after it.
const (
	// HandWritten is a RegistryCache without a controller, or with one that is not of this project.
	HandWritten Origin = "HandWritten"
	// Variable is a RegistryCache that is made from a variable of its Cluster.
	Variable Origin = "Variable"
	// Set is a RegistryCache that is made from a RegistryCacheSet.
	Set Origin = "Set"
)

// Of returns who keeps a RegistryCache.
func Of(rc *addonsv1.RegistryCache) Origin {
	controller := metav1.GetControllerOf(rc)
	switch {
	case controller == nil:
		return HandWritten
	case controller.Kind == "Cluster" && group(controller.APIVersion) == clusterv1.GroupVersion.Group:
		return Variable
	case controller.Kind == "RegistryCacheSet" && group(controller.APIVersion) == addonsv1.GroupVersion.Group:
		return Set
	default:
		return HandWritten
	}
}

// group leaves the version out: it changes when a Cluster is stored in another one.
func group(apiVersion string) string {
	before, _, _ := strings.Cut(apiVersion, "/")
	return before
}
