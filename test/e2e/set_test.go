//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// setName and setLabel are those of the set, and of the Clusters that it selects.
	setName  = "all"
	setLabel = "registry-caches"
)

// The clusters are one control plane Machine each, which is the node that runs the caches too, so that two of them cost little.
var _ = Describe("A RegistryCacheSet", Label("slow"), Ordered, ContinueOnFailure, func() {
	first, second := &world{}, &world{}
	var machines []string

	BeforeAll(func(ctx context.Context) {
		first.cluster, second.cluster = env.Cluster("set-first", 0), env.Cluster("set-second", 0)
		second.cluster.Namespace = first.cluster.Name
		for _, w := range []*world{first, second} {
			w.one, w.two, w.began = env.Upstream("registry-one"), env.Upstream("registry-two"), time.Now()
			// A node that was cleared takes caches again without a restart of containerd.
			w.cluster.HostsDirectory = true
			clusters = append(clusters, w.cluster)
			Expect(w.cluster.Create(ctx)).To(Succeed())
			w.labelled(ctx, true)
		}
		for _, w := range []*world{first, second} {
			Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
			Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		}
		Expect(env.Client.Create(ctx, setFor(first))).To(Succeed())
		var err error
		machines, err = first.machines(ctx)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(20*time.Minute))

	It("gives every Cluster with the label caches that its nodes use", func(ctx context.Context) {
		for _, w := range []*world{first, second} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
			Expect(w.registryCache(ctx).Labels).To(HaveKeyWithValue(v1alpha1.SetLabel, setName))
		}
		first.eventuallySet(ctx, v1alpha1.ReadyCondition, metav1.ConditionTrue, "")
		set := first.set(ctx)
		Expect([]*int32{set.Status.MatchedClusters, set.Status.ReadyClusters}).To(HaveEach(HaveValue(Equal(int32(2)))))
	}, NodeTimeout(8*time.Minute))

	It("takes the caches of a Cluster that lost the label, with all that nodes had of them, and leaves the other's alone", func(ctx context.Context) {
		before := second.registryCache(ctx)
		first.labelled(ctx, false)
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, first.key(), &v1alpha1.RegistryCache{}))
		}).WithTimeout(3 * time.Minute).Should(BeTrue())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, first.cluster) }).WithTimeout(2 * time.Minute).Should(BeEmpty())
		for _, n := range first.nodes(ctx) {
			Expect(n.Exec(ctx, "sh", "-c", ourFiles)).To(BeEmpty(), n.Name)
		}
		Expect(second.registryCache(ctx)).To(And(HaveField("UID", before.UID), HaveField("Generation", before.Generation), HaveField("DeletionTimestamp", BeNil())))
		Expect(second.configured(ctx, second.nodes(ctx), second.one)).To(HaveLen(1))
		Expect(first.set(ctx).Status.MatchedClusters).To(HaveValue(Equal(int32(1))))
		first.eventuallySet(ctx, v1alpha1.ReadyCondition, metav1.ConditionTrue, "")
	}, NodeTimeout(8*time.Minute))

	It("leaves a hand-written RegistryCache alone, and says so", func(ctx context.Context) {
		own := first.cluster.RegistryCache(first.two)
		onAnyNode(own.Spec.Caches)
		Expect(env.Client.Create(ctx, own)).To(Succeed())
		first.labelled(ctx, true)
		first.eventuallySet(ctx, v1alpha1.AppliedCondition, metav1.ConditionFalse, "Cluster "+first.cluster.Name+": its RegistryCache is hand-written")
		first.eventuallySet(ctx, v1alpha1.ReadyCondition, metav1.ConditionFalse, "hand-written")
		Eventually(ctx, func() []string { return first.notes(ctx, first.set(ctx).UID) }).WithTimeout(time.Minute).
			Should(ContainElement(ContainSubstring("Cluster " + first.cluster.Name + ": its RegistryCache is hand-written")))
		first.eventuallyConfigured(ctx, first.nodes(ctx), first.two, true, time.Now().Add(comeback))
		Expect(first.configured(ctx, first.nodes(ctx), first.one)).To(BeEmpty())
		Expect(first.registryCache(ctx)).To(And(HaveField("UID", own.UID), HaveField("Generation", own.Generation)))
	}, NodeTimeout(8*time.Minute))

	It("gets the Cluster when the hand-written one is deleted", func(ctx context.Context) {
		Expect(env.Client.Delete(ctx, first.cluster.RegistryCache())).To(Succeed())
		first.eventuallySet(ctx, v1alpha1.AppliedCondition, metav1.ConditionTrue, "")
		first.eventuallyConfigured(ctx, first.nodes(ctx), first.one, true, time.Now().Add(comeback))
		Expect(first.configured(ctx, first.nodes(ctx), first.two)).To(BeEmpty())
		Expect(first.machines(ctx)).To(Equal(machines), "none was replaced (I2)")
	}, NodeTimeout(8*time.Minute))

	It("takes all caches with it when it is deleted, in the foreground too (I8)", func(ctx context.Context) {
		set := first.set(ctx)
		Expect(env.Client.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, client.ObjectKeyFromObject(set), set))
		}).WithTimeout(4 * time.Minute).Should(BeTrue())
		for _, w := range []*world{first, second} {
			Expect(apierrors.IsNotFound(env.Client.Get(ctx, w.key(), &v1alpha1.RegistryCache{}))).To(BeTrue(), w.cluster.Name)
			Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(2 * time.Minute).Should(BeEmpty())
		}
	}, NodeTimeout(8*time.Minute))

	// The first one made the namespace.
	AfterAll(func(ctx context.Context) {
		Expect(second.cluster.Delete(ctx)).To(Succeed())
		Expect(first.cluster.Delete(ctx)).To(Succeed())
	}, NodeTimeout(15*time.Minute))
})

// setFor is a set of one cache in the namespace of the Cluster.
func setFor(w *world) *v1alpha1.RegistryCacheSet {
	set := &v1alpha1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.key().Namespace, Name: setName}}
	set.Spec.ClusterSelector.MatchLabels = map[string]string{setLabel: "yes"}
	set.Spec.Template.Spec.Caches = w.cluster.RegistryCache(w.one).Spec.Caches
	onAnyNode(set.Spec.Template.Spec.Caches)
	return set
}

// onAnyNode lets caches run on control plane nodes.
func onAnyNode(caches []v1alpha1.Cache) {
	for i := range caches {
		caches[i].Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
}

// labelled gives the Cluster the label that the set selects, or takes it away.
func (w *world) labelled(ctx context.Context, selected bool) {
	GinkgoHelper()
	cluster := &clusterv1.Cluster{}
	Expect(env.Client.Get(ctx, w.key(), cluster)).To(Succeed())
	before := client.MergeFrom(cluster.DeepCopy())
	delete(cluster.Labels, setLabel)
	if selected {
		cluster.Labels = labels.Merge(cluster.Labels, labels.Set{setLabel: "yes"})
	}
	Expect(env.Client.Patch(ctx, cluster, before)).To(Succeed())
}

func (w *world) set(ctx context.Context) *v1alpha1.RegistryCacheSet {
	GinkgoHelper()
	set := setFor(w)
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(set), set)).To(Succeed())
	return set
}

func (w *world) registryCache(ctx context.Context) *v1alpha1.RegistryCache {
	GinkgoHelper()
	rc := &v1alpha1.RegistryCache{}
	Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
	return rc
}

// eventuallySet waits for a condition of the set, with words in its message.
func (w *world) eventuallySet(ctx context.Context, kind string, status metav1.ConditionStatus, words string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		condition := conditions.Get(w.set(ctx), kind)
		g.Expect(condition).NotTo(BeNil())
		g.Expect(condition.Status).To(Equal(status), condition.Message)
		g.Expect(condition.Message).To(ContainSubstring(words))
	}).WithTimeout(comeback).Should(Succeed())
}

// notes are those of the Events about an object.
func (w *world) notes(ctx context.Context, of types.UID) []string {
	GinkgoHelper()
	list := &eventsv1.EventList{}
	Expect(env.Client.List(ctx, list, client.InNamespace(w.key().Namespace))).To(Succeed())
	var notes []string
	for _, event := range list.Items {
		if event.Regarding.UID == of {
			notes = append(notes, event.Note)
		}
	}
	return notes
}
