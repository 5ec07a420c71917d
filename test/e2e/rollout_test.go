//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// observation is how long no Machine may be replaced after a change (I2).
const observation = 3 * time.Minute

func rolloutSpecs(w *world) {
	It("boots a new Machine while the manager is down (I1)", func(ctx context.Context) {
		w.stopManager(ctx)
		Expect(w.cluster.Scale(ctx, 3)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		Expect(w.cluster.Scale(ctx, 2)).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return w.machines(ctx) }).WithTimeout(3 * time.Minute).Should(HaveLen(3))
	}, NodeTimeout(10*time.Minute))

	It("replaces no Machine when caches are added and changed (I2)", func(ctx context.Context) {
		before, err := w.machines(ctx)
		Expect(err).NotTo(HaveOccurred())
		w.changeCaches(ctx)
		Eventually(ctx, func() (bool, error) { return w.upToDate(ctx, 3) }).WithTimeout(comeback).Should(BeTrue())
		Consistently(ctx, func() ([]string, error) { return w.machines(ctx) }).
			WithPolling(5 * time.Second).WithTimeout(observation).Should(Equal(before))
		w.expectReplicasUpToDate(ctx)
	}, NodeTimeout(10*time.Minute))
}

// changeCaches adds a cache and changes all that can be changed of another.
func (w *world) changeCaches(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		rc := &v1alpha1.RegistryCache{}
		if err := env.Client.Get(ctx, w.key(), rc); err != nil {
			return err
		}
		rc.Spec.Caches[0].GarbageCollection.TTL = &metav1.Duration{Duration: 24 * time.Hour}
		rc.Spec.Caches[0].Resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		}
		rc.Spec.Caches = append(rc.Spec.Caches, v1alpha1.Cache{Upstream: "registry-three.test:5000", RemoteURL: w.two.RemoteURL()})
		return env.Client.Update(ctx, rc)
	}).WithTimeout(time.Minute).Should(Succeed())
}

// upToDate tells whether the newest spec is what runs.
func (w *world) upToDate(ctx context.Context, caches int) (bool, error) {
	rc := &v1alpha1.RegistryCache{}
	if err := env.Client.Get(ctx, w.key(), rc); err != nil {
		return false, err
	}
	ready := apimeta.FindStatusCondition(rc.Status.Conditions, v1alpha1.ReadyCondition)
	return allocated(rc, caches) && ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == rc.Generation, nil
}

// machines are the Machines of the cluster by name and UID, sorted.
func (w *world) machines(ctx context.Context) ([]string, error) {
	list, err := w.cluster.Machines(ctx)
	names := make([]string, 0, len(list))
	for _, m := range list {
		names = append(names, fmt.Sprintf("%s %s", m.Name, m.UID))
	}
	slices.Sort(names)
	return names, err
}

func (w *world) expectReplicasUpToDate(ctx context.Context) {
	GinkgoHelper()
	controlPlane := &controlplanev1.KubeadmControlPlane{}
	Expect(env.Client.Get(ctx, w.key(), controlPlane)).To(Succeed())
	Expect(controlPlane.Status.Replicas).To(HaveValue(BeEquivalentTo(1)))
	Expect(controlPlane.Status.UpToDateReplicas).To(HaveValue(BeEquivalentTo(1)))
	deployment := &clusterv1.MachineDeployment{}
	Expect(env.Client.Get(ctx, w.key(), deployment)).To(Succeed())
	Expect(deployment.Status.UpToDateReplicas).To(HaveValue(BeEquivalentTo(2)))
}
