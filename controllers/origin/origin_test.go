package origin_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/origin"
)

func TestTheControllerReferenceTellsWhoKeepsARegistryCache(t *testing.T) {
	owner := metav1.OwnerReference{APIVersion: "cluster.x-k8s.io/v1beta2", Kind: "Cluster", Name: "c"}
	controlledBy := func(apiVersion, kind string) []metav1.OwnerReference {
		return []metav1.OwnerReference{owner, {APIVersion: apiVersion, Kind: kind, Name: "x", Controller: ptr.To(true)}}
	}
	for name, test := range map[string]struct {
		owners []metav1.OwnerReference
		want   origin.Origin
	}{
		"nobody":                                {nil, origin.HandWritten},
		"a Cluster that is the owner only":      {[]metav1.OwnerReference{owner}, origin.HandWritten},
		"a Cluster":                             {controlledBy("cluster.x-k8s.io/v1beta2", "Cluster"), origin.Variable},
		"a Cluster of another version":          {controlledBy("cluster.x-k8s.io/v1beta1", "Cluster"), origin.Variable},
		"a Cluster of somebody else's":          {controlledBy("example.com/v1", "Cluster"), origin.HandWritten},
		"a RegistryCacheSet":                    {controlledBy("addons.cluster.x-k8s.io/v1alpha1", "RegistryCacheSet"), origin.Set},
		"a RegistryCacheSet of somebody else's": {controlledBy("example.com/v1alpha1", "RegistryCacheSet"), origin.HandWritten},
		"a tool of the user's":                  {controlledBy("example.com/v1", "Application"), origin.HandWritten},
	} {
		t.Run(name, func(t *testing.T) {
			rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{OwnerReferences: test.owners}}
			NewWithT(t).Expect(origin.Of(rc)).To(Equal(test.want))
		})
	}
}
