package registrycache_test

import (
	"context"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// createOnClass creates a RegistryCache for docker.io whose claims are of a StorageClass of its own, and binds the claim of its Pod.
func (f *fixture) createOnClass(expandable *bool) *corev1.PersistentVolumeClaim {
	f.t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}, Provisioner: "test.example.com/none", AllowVolumeExpansion: expandable}
	f.Expect(env.Client.Create(f.t.Context(), class)).To(Succeed())
	f.t.Cleanup(func() { _ = env.Client.Delete(context.Background(), class) })
	f.createWith(func(c *addonsv1.Cache) { c.Volume.StorageClassName = &class.Name })
	f.ready("docker.io")
	claim := f.claim("docker.io")
	f.bind(claim, "10Gi")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	return claim
}

// bind does the work of the controllers of volumes.
func (f *fixture) bind(claim *corev1.PersistentVolumeClaim, capacity string) {
	f.t.Helper()
	f.Eventually(func() error {
		if err := f.get(claim)(); err != nil {
			return err
		}
		claim.Status.Phase = corev1.ClaimBound
		claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}
		return env.Client.Status().Update(f.t.Context(), claim)
	}).Should(Succeed())
}

func (f *fixture) resize(size string) {
	f.t.Helper()
	quantity := resource.MustParse(size)
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].Volume.Size = &quantity })
}

func (f *fixture) asked(claim *corev1.PersistentVolumeClaim) func() string {
	return func() string {
		_ = f.get(claim)()
		return claim.Spec.Resources.Requests.Storage().String()
	}
}

// template is the size that the StatefulSet gives to new claims.
func (f *fixture) template() string {
	set := f.statefulSet("docker.io")
	if err := f.get(set)(); err != nil {
		return err.Error()
	}
	return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
}

// collect does the work of the garbage collector for a StatefulSet that is deleted without its Pods. It fails if they were to go, too.
func (f *fixture) collect() {
	f.t.Helper()
	set := f.statefulSet("docker.io")
	f.Eventually(func() bool { return f.get(set)() == nil && !set.DeletionTimestamp.IsZero() }).Should(BeTrue())
	f.Expect(set.Finalizers).To(Equal([]string{metav1.FinalizerOrphanDependents}))
	set.Finalizers = nil
	f.Expect(env.Client.Update(f.t.Context(), set)).To(Succeed())
}

func TestAVolumeGrowsInPlace(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.96/28")
	claim := f.createOnClass(new(true))
	pod := f.pod(hubPod)
	set := f.statefulSet("docker.io")
	f.Expect(f.get(set)()).To(Succeed())
	before := set.DeepCopy()

	f.resize("20Gi")
	f.Eventually(f.asked(claim)).Should(Equal("20Gi"))
	f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionFalse, addonsv1.VolumeGrowingReason)
	f.collect()
	f.Eventually(f.template).Should(Equal("20Gi"))
	f.Expect(f.get(set)()).To(Succeed())
	f.Expect(set.UID).NotTo(Equal(before.UID))
	f.Expect(set.Spec.Template).To(Equal(before.Spec.Template), "so no Pod starts again")
	uid := pod.UID
	f.Expect(f.get(pod)()).To(Succeed())
	f.Expect(pod.UID).To(Equal(uid))
	f.Expect(claim.DeletionTimestamp).To(BeNil())
	f.Eventually(f.events).Should(ContainElement("VolumeGrowing"))

	f.ready("docker.io")
	f.Expect(f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionFalse, addonsv1.VolumeGrowingReason).Message).
		To(ContainSubstring("PersistentVolumeClaim " + claim.Name + " has 10Gi of 20Gi"))
	f.bind(claim, "20Gi")
	f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionTrue, addonsv1.VolumesHealthyReason)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
}

// TestGrowthGoesOnWhereItWasInterrupted begins after the first and after the second step.
func TestGrowthGoesOnWhereItWasInterrupted(t *testing.T) {
	for name, interrupted := range map[string]func(f *fixture, claim *corev1.PersistentVolumeClaim){
		"the claim has grown": func(f *fixture, claim *corev1.PersistentVolumeClaim) {
			before := claim.DeepCopy()
			claim.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("20Gi")
			f.Expect(env.Client.Patch(f.t.Context(), claim, client.MergeFrom(before))).To(Succeed())
			f.resize("20Gi")
			f.collect()
		},
		"the StatefulSet is going": func(f *fixture, _ *corev1.PersistentVolumeClaim) {
			set := f.statefulSet("docker.io")
			f.Expect(env.Client.Delete(f.t.Context(), set, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
			f.resize("20Gi")
			f.collect()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.connected(map[string]string{"the claim has grown": "10.77.2.112/28", "the StatefulSet is going": "10.77.2.128/28"}[name])
			claim := f.createOnClass(new(true))
			interrupted(f, claim)
			f.Eventually(func() string {
				set := f.statefulSet("docker.io")
				if f.get(set)() == nil && slices.Contains(set.Finalizers, metav1.FinalizerOrphanDependents) {
					set.Finalizers = nil
					_ = env.Client.Update(t.Context(), set)
				}
				return f.template()
			}).Should(Equal("20Gi"))
			f.Eventually(f.asked(claim)).Should(Equal("20Gi"))
			f.bind(claim, "20Gi")
			f.ready("docker.io")
			f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
			f.staysSilent()
		})
	}
}

// TestAVolumeThatCannotGrowStaysAsItIs guards I5: what else the spec says is done.
func TestAVolumeThatCannotGrowStaysAsItIs(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.144/28")
	claim := f.createOnClass(nil)
	f.resize("20Gi")
	message := f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionFalse, addonsv1.VolumeNotGrownReason).Message
	f.Expect(message).To(And(ContainSubstring("cache of docker.io: volume.size: PersistentVolumeClaim "+claim.Name+" stays at 10Gi of 20Gi"),
		ContainSubstring("StorageClass "+f.namespace+" has no allowVolumeExpansion")))
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionTrue, addonsv1.CachesAvailableReason)
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].Image = "registry.example.com/other:1" })
	set := f.statefulSet("docker.io")
	f.Eventually(func() string { _ = f.get(set)(); return set.Spec.Template.Spec.Containers[0].Image }).Should(Equal("registry.example.com/other:1"))
	f.Expect(f.template()).To(Equal("10Gi"))
	f.Expect(f.asked(claim)()).To(Equal("10Gi"))
	f.staysSilent()
}

func TestAVolumeThatIsNotBoundGrowsLater(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.160/28")
	claim := f.createOnClass(new(true))
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	f.Expect(env.Client.Status().Update(t.Context(), claim)).To(Succeed())
	f.Eventually(func() string { _ = f.get(claim)(); return string(claim.Status.Phase) }).Should(Equal("Pending"))
	f.resize("20Gi")
	f.Expect(f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionFalse, addonsv1.VolumeNotGrownReason).Message).To(ContainSubstring("not bound"))
	f.bind(claim, "10Gi")
	f.Eventually(f.asked(claim)).Should(Equal("20Gi"))
	f.collect()
	f.Eventually(f.template).Should(Equal("20Gi"))
}

// TestPodsWithoutAStatefulSetGoWithTheirCache is about caches that are removed in the middle of growth.
func TestPodsWithoutAStatefulSetGoWithTheirCache(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.192/28")
	f.create("docker.io", "quay.io", "ghcr.io")
	f.ready("docker.io", "quay.io", "ghcr.io")
	orphan := func(upstream string, owners ...metav1.OwnerReference) *corev1.Pod {
		pod := f.pod("pod-" + manifests.ServiceName(upstream))
		pod.Labels, pod.OwnerReferences = manifests.Labels(), owners
		pod.Labels[addonsv1.InstanceLabel] = manifests.ServiceName(upstream)
		f.Expect(env.Client.Update(t.Context(), pod)).To(Succeed())
		return pod
	}
	removed, kept := orphan("docker.io"), orphan("quay.io")
	owned := orphan("ghcr.io", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "x", UID: "x", Controller: new(true)})
	foreign := f.pod("foreign")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = rc.Spec.Caches[1:2] })
	f.Eventually(f.get(removed)).Should(notFound())
	f.Consistently(f.get(kept)).Should(Succeed(), "a StatefulSet takes it over")
	f.Expect(f.get(owned)()).To(Succeed(), "it goes with its StatefulSet")
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.get(kept)()).To(notFound())
	f.Expect(f.get(foreign)()).To(Succeed())
}

func TestAFullVolumeIsTold(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.176/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	clusters.tell(f.cluster, hubPod, told(t, report.Access{State: report.AccessUnused}, report.VolumeFull))
	f.Expect(f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionFalse, addonsv1.VolumeFullReason).Message).To(ContainSubstring("cache of docker.io: its volume has no room"))
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionTrue, addonsv1.CachesAvailableReason)
	f.staysSilent()
	clusters.tell(f.cluster, hubPod, told(t, report.Access{State: report.AccessUnused}, report.VolumeUsable))
	f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionTrue, addonsv1.VolumesHealthyReason)
}
