package registrycache

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func TestOnlyChangesOfAClusterThatMatterWakeItsRegistryCache(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*clusterv1.Cluster)
		want   bool
	}{
		"paused":                   {func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(true) }, true},
		"not paused, said so":      {func(c *clusterv1.Cluster) { c.Spec.Paused = ptr.To(false) }, false},
		"infrastructure is there":  {func(c *clusterv1.Cluster) { c.Status.Initialization.InfrastructureProvisioned = ptr.To(true) }, true},
		"deleted":                  {func(c *clusterv1.Cluster) { c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, true},
		"a Service CIDR":           {func(c *clusterv1.Cluster) { c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"} }, true},
		"a control plane":          {func(c *clusterv1.Cluster) { c.Spec.ControlPlaneRef.Kind = "KubeadmControlPlane" }, true},
		"a label":                  {func(c *clusterv1.Cluster) { c.Labels = map[string]string{"a": "b"} }, false},
		"the phase, in the status": {func(c *clusterv1.Cluster) { c.Status.Phase = "Provisioned" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := &clusterv1.Cluster{}
			after := before.DeepCopy()
			tc.change(after)
			NewWithT(t).Expect(clusterChanges().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})).To(Equal(tc.want))
		})
	}
}

func TestEveryWorkloadKindHasAList(t *testing.T) {
	NewWithT(t).Expect(workloadLists()).To(HaveLen(len(WorkloadKinds())))
}
