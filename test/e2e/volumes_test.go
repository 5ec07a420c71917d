//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	smallSize  = "64Mi"
	largerSize = "128Mi"
)

// No driver that resizes comes as a Go module. So these specs play the driver: they make the file system larger and say so in
// the claim. What asks for it, the replacement of the StatefulSet under the real controllers, and what the cache makes of the new size
// are real; that a driver does its part is not shown.
var _ = Describe("Volumes of caches", Label("slow"), Ordered, ContinueOnFailure, func() {
	w := &world{}
	var node stack.Node

	BeforeAll(func(ctx context.Context) {
		w.cluster, w.began = env.Cluster("volumes", 2), time.Now()
		w.cluster.HostsDirectory = true
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		clusters = append(clusters, w.cluster)
		Expect(w.cluster.Create(ctx)).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		_, workers, err := w.cluster.Nodes(ctx)
		Expect(err).NotTo(HaveOccurred())
		node = workers[0]
		for _, class := range []string{"grows", "fills"} {
			Expect(w.smallVolume(ctx, node, class)).To(Succeed())
		}
		// 2 MiB are left: room for manifests, and for no layer.
		_, err = node.Exec(ctx, "sh", "-c", "head -c 62M /dev/zero >/var/small-fills/foreign")
		Expect(err).NotTo(HaveOccurred())

		rc := w.cluster.RegistryCache(w.one, w.two)
		for i, class := range []string{"grows", "fills"} {
			size := resource.MustParse(smallSize)
			rc.Spec.Caches[i].Volume = v1alpha1.Volume{Size: &size, StorageClassName: &class}
		}
		Expect(env.Client.Create(ctx, rc)).To(Succeed())
		for _, up := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), up, true, time.Now().Add(comeback))
		}
	}, NodeTimeout(15*time.Minute))

	It("are told to be full while every pull succeeds", func(ctx context.Context) {
		for i, n := range w.nodes(ctx)[:2] {
			pull(ctx, n, push(ctx, w.two, fmt.Sprintf("volumes/full-%d", i)).Ref())
		}
		message := w.eventuallyCondition(ctx, v1alpha1.VolumesHealthyCondition, metav1.ConditionFalse, v1alpha1.VolumeFullReason, 4*time.Minute)
		Expect(message).To(And(ContainSubstring(w.two.Host()), Not(ContainSubstring(w.one.Host()))))
		Expect(w.metric(ctx, w.two, "registry_cache_volume_full")).To(Equal("1"))
		pull(ctx, w.nodes(ctx)[2], push(ctx, w.two, "volumes/still").Ref())
	}, NodeTimeout(8*time.Minute))

	It("grow in place: the store is kept, and no Pod starts again", func(ctx context.Context) {
		first, second := w.nodes(ctx)[0], w.nodes(ctx)[2]
		image, since := push(ctx, w.one, "volumes/kept"), time.Now()
		pull(ctx, first, image.Ref())
		pod, set := w.cachePod(ctx, w.one), w.statefulSet(ctx, w.one)
		Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
		before := set.UID
		Expect(w.metric(ctx, w.one, "registry_cache_capacity_bytes")).To(Equal("6.7108864e+07"))

		w.update(ctx, func(rc *v1alpha1.RegistryCache) {
			size := resource.MustParse(largerSize)
			rc.Spec.Caches[0].Volume.Size = &size
		})
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: cacheNamespace, Name: "store-" + pod.Name}}
		Eventually(ctx, func() (string, error) {
			err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(claim), claim)
			return claim.Spec.Resources.Requests.Storage().String(), err
		}).WithTimeout(time.Minute).Should(Equal(largerSize))
		Eventually(ctx, func(g Gomega) {
			g.Expect(w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
			g.Expect(set.UID).NotTo(Equal(before))
			g.Expect(set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal(largerSize))
			g.Expect(set.Status.ReadyReplicas).To(Equal(int32(1)))
		}).WithTimeout(time.Minute).Should(Succeed())
		Expect(w.cachePod(ctx, w.one).UID).To(Equal(pod.UID))

		Expect(w.driver(ctx, node, claim)).To(Succeed())
		Eventually(ctx, func() string { return w.metric(ctx, w.one, "registry_cache_capacity_bytes") }).WithTimeout(2 * time.Minute).Should(Equal("1.34217728e+08"))
		after := w.cachePod(ctx, w.one)
		Expect(after.UID).To(Equal(pod.UID))
		Expect(after.Status.ContainerStatuses[0].RestartCount).To(BeZero())
		asked := len(blobs(ctx, w.one, since, image.Repository))
		pull(ctx, second, image.Ref())
		Expect(blobs(ctx, w.one, since, image.Repository)).To(HaveLen(asked), "all is in the store")
	}, NodeTimeout(8*time.Minute))

	It("go with their cache", func(ctx context.Context) {
		Expect(env.Client.Delete(ctx, w.cluster.RegistryCache())).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(3 * time.Minute).Should(BeEmpty())
	}, NodeTimeout(5*time.Minute))

	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))
})

// smallVolume gives a StorageClass of its own one volume, which is a file system in the memory of a node.
func (w *world) smallVolume(ctx context.Context, n stack.Node, class string) error {
	dir := "/var/small-" + class
	if _, err := n.Exec(ctx, "sh", "-c", `mkdir -p "$0" && mount -t tmpfs -o mode=0777,size=64m tmpfs "$0"`, dir); err != nil {
		return err
	}
	late := storagev1.VolumeBindingWaitForFirstConsumer
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: class}}
	volume.Spec = corev1.PersistentVolumeSpec{
		Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(smallSize)},
		AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName:       class,
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{n.Name}}},
		}}}},
	}
	for _, object := range []client.Object{
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "kubernetes.io/no-provisioner",
			VolumeBindingMode: &late, AllowVolumeExpansion: new(true),
		},
		volume,
	} {
		if err := w.cluster.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// driver does what the driver of a volume does when a claim asks for more.
func (w *world) driver(ctx context.Context, n stack.Node, claim *corev1.PersistentVolumeClaim) error {
	if _, err := n.Exec(ctx, "mount", "-o", "remount,size=128m", "/var/small-"+*claim.Spec.StorageClassName); err != nil {
		return err
	}
	larger := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(largerSize)}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName}}
	if err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(volume), volume); err != nil {
		return err
	}
	before := volume.DeepCopy()
	volume.Spec.Capacity = larger
	if err := w.cluster.Client.Patch(ctx, volume, client.MergeFrom(before)); err != nil {
		return err
	}
	claimed := claim.DeepCopy()
	claim.Status.Capacity = larger
	return w.cluster.Client.Status().Patch(ctx, claim, client.MergeFrom(claimed))
}

// metric is the value of a metric of a cache without labels, asked from the node that it runs on.
func (w *world) metric(ctx context.Context, up *stack.Upstream, name string) string {
	GinkgoHelper()
	pod := w.cachePod(ctx, up)
	n := stack.Node{Name: pod.Spec.NodeName}
	value, err := n.Exec(ctx, "sh", "-c", `curl --silent --fail --max-time 5 "http://$0:5001/metrics" | awk -v name="$1" '$1 == name {print $2}'`, pod.Status.PodIP, name)
	Expect(err).NotTo(HaveOccurred())
	return value
}
