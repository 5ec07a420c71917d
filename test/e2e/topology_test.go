//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// className is that of the template for users, and extensionName that in config/extension.
	className     = "registry-cache"
	extensionName = "registry-cache"
)

// The Cluster is made from the templates for users, and nothing but the variable says of caches.
var _ = Describe("A cluster of a ClusterClass with the variable", Label("slow"), Ordered, ContinueOnFailure, func() {
	w := &world{}
	var born []string

	BeforeAll(func(ctx context.Context) {
		w.cluster, w.began = env.Cluster("topology", 1), time.Now()
		w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
		clusters = append(clusters, w.cluster)
		watching, stop := context.WithCancel(context.Background())
		DeferCleanup(stop)
		var err error
		w.order, err = record(watching, w.cluster.Name, 1)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.cluster.CreateFromClass(ctx, w.cluster.RegistryCache(w.one).Spec)).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		born, err = w.machines(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(born).To(HaveLen(2))
	}, NodeTimeout(15*time.Minute))
	AfterAll(func(ctx context.Context) {
		Expect(w.cluster.Delete(ctx)).To(Succeed())
		Expect(env.UnregisterExtension(ctx)).To(Succeed())
	}, NodeTimeout(10*time.Minute))

	It("has its RegistryCache, with addresses before the first Machine has bootstrap data", func(ctx context.Context) {
		rc, cluster := &v1alpha1.RegistryCache{}, &clusterv1.Cluster{}
		Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
		Expect(env.Client.Get(ctx, w.key(), cluster)).To(Succeed())
		Expect(metav1.IsControlledBy(rc, cluster)).To(BeTrue())
		allocated, bootstrapData, _ := w.order.times()
		Expect(allocated).NotTo(BeZero())
		Expect(allocated).To(BeTemporally("<", bootstrapData))
		w.eventuallyCondition(ctx, v1alpha1.VariableAppliedCondition, metav1.ConditionTrue, v1alpha1.VariableAppliedReason, time.Minute)
	}, NodeTimeout(2*time.Minute))

	It("pulls through the cache", func(ctx context.Context) {
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
		_, err := w.pulledThrough(ctx, w.one, "topology/first", w.nodes(ctx)...)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(6*time.Minute))

	It("follows the variable, and replaces no Machine (I2)", func(ctx context.Context) {
		spec := w.cluster.RegistryCache(w.one, w.two).Spec
		spec.Caches[0].GarbageCollection.TTL = &metav1.Duration{Duration: 24 * time.Hour}
		Expect(w.setVariable(ctx, spec)).To(Succeed())
		w.eventuallyConfigured(ctx, w.nodes(ctx), w.two, true, time.Now().Add(comeback))
		Eventually(ctx, func() (bool, error) { return w.upToDate(ctx, 2) }).WithTimeout(comeback).Should(BeTrue())
		w.replacesNone(ctx, born)
	}, NodeTimeout(10*time.Minute))

	It("refuses a bad value at the Cluster with our message, by the schema in the ClusterClass", func(ctx context.Context) {
		w.refusesBadValues(ctx)
	}, NodeTimeout(time.Minute))

	It("refuses it by the schema that the runtime extension tells of, too", func(ctx context.Context) {
		Expect(env.RegisterExtension(ctx)).To(Succeed())
		w.discoverVariable(ctx)
		w.refusesBadValues(ctx)
		w.eventuallyTopology(ctx, metav1.ConditionTrue, "")
		w.replacesNone(ctx, born)
	}, NodeTimeout(10*time.Minute))

	It("is told by the runtime extension of what a ClusterClass cannot say, and runs on as it is (I5)", func(ctx context.Context) {
		before := &v1alpha1.RegistryCache{}
		Expect(env.Client.Get(ctx, w.key(), before)).To(Succeed())
		spec := w.cluster.RegistryCache(w.one, w.two).Spec
		spec.Mirrors = []v1alpha1.Mirror{{Upstream: "ghcr.io", Hosts: []v1alpha1.MirrorHost{{
			Host: "https://mirror.test", Capabilities: []v1alpha1.MirrorCapability{v1alpha1.MirrorPull, v1alpha1.MirrorPull},
		}}}}
		Expect(w.setVariable(ctx, spec)).To(Succeed())
		const told = "value.mirrors[0].hosts[0].capabilities[1]: Duplicate value"
		w.eventuallyTopology(ctx, metav1.ConditionFalse, told)
		message := w.eventuallyCondition(ctx, v1alpha1.VariableAppliedCondition, metav1.ConditionFalse, v1alpha1.VariableInvalidReason, time.Minute)
		Expect(message).To(ContainSubstring(told))
		after := &v1alpha1.RegistryCache{}
		Expect(env.Client.Get(ctx, w.key(), after)).To(Succeed())
		Expect(after.Generation).To(Equal(before.Generation))

		Expect(w.setVariable(ctx, w.cluster.RegistryCache(w.one, w.two).Spec)).To(Succeed())
		w.eventuallyTopology(ctx, metav1.ConditionTrue, "")
		w.eventuallyCondition(ctx, v1alpha1.VariableAppliedCondition, metav1.ConditionTrue, v1alpha1.VariableAppliedReason, time.Minute)
	}, NodeTimeout(6*time.Minute))

	It("has nothing of it any more when the variable is removed (I8)", func(ctx context.Context) {
		Expect(w.setVariable(ctx, nil)).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, w.key(), &v1alpha1.RegistryCache{}))
		}).WithTimeout(5 * time.Minute).Should(BeTrue())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(2 * time.Minute).Should(BeEmpty())
		for _, u := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), u, false, time.Now().Add(time.Minute))
		}
		Expect(w.machines(ctx)).To(Equal(born))
	}, NodeTimeout(10*time.Minute))
})

// setVariable changes the variable as a user would; nil takes it away.
func (w *world) setVariable(ctx context.Context, value any) error {
	cluster := &clusterv1.Cluster{}
	if err := env.Client.Get(ctx, w.key(), cluster); err != nil {
		return err
	}
	before := client.MergeFrom(cluster.DeepCopy())
	cluster.Spec.Topology.Variables = nil
	if value != nil {
		var err error
		if cluster.Spec.Topology.Variables, err = stack.Variables(value); err != nil {
			return err
		}
	}
	return env.Client.Patch(ctx, cluster, before)
}

func (w *world) replacesNone(ctx context.Context, born []string) {
	GinkgoHelper()
	Consistently(ctx, func() ([]string, error) { return w.machines(ctx) }).
		WithPolling(5 * time.Second).WithTimeout(observation / 2).Should(Equal(born))
}

// refusesBadValues changes nothing, as every value is bad.
func (w *world) refusesBadValues(ctx context.Context) {
	GinkgoHelper()
	for value, message := range map[string]string{
		`{"caches":[{"upstream":"https://docker.io"}]}`:                         "upstream: https://docker.io is not host[:port]; accepted are a lower-case DNS name",
		`{"caches":[{"upstream":"docker.io","volume":{"size":"big"}}]}`:         "volume.size: big is not a quantity greater than 0; accepted are values such as 10Gi",
		`{"caches":[{"upstream":"docker.io"},{"upstream":"docker.io"}]}`:        "caches: two entries have the same upstream",
		`{"caches":[{"upstream":"docker.io","volume":{"sise":"1Gi"}}]}`:         "sise",
		`{"namespace":"elsewhere","caches":[{"upstream":"registry-one.test"}]}`: "spec.namespace: elsewhere cannot replace kube-system, the field is immutable",
	} {
		Expect(w.setVariable(ctx, rawValue(value))).To(MatchError(And(ContainSubstring("spec.topology.variables[registryCache]"), ContainSubstring(message))))
	}
}

// rawValue is JSON as it stands.
type rawValue string

// MarshalJSON implements json.Marshaler.
func (v rawValue) MarshalJSON() ([]byte, error) { return []byte(v), nil }

// discoverVariable lets the ClusterClass discover the variable, as docs/clusterclass.md has it, and waits until it has.
func (w *world) discoverVariable(ctx context.Context) {
	GinkgoHelper()
	key := client.ObjectKey{Namespace: w.cluster.Name, Name: className}
	class := &clusterv1.ClusterClass{}
	Eventually(ctx, func() error {
		if err := env.Client.Get(ctx, key, class); err != nil {
			return err
		}
		before := client.MergeFrom(class.DeepCopy())
		class.Spec.Variables = nil
		class.Spec.Patches = []clusterv1.ClusterClassPatch{{Name: extensionName, External: &clusterv1.ExternalPatchDefinition{
			DiscoverVariablesExtension: "discover-variables." + extensionName,
			GeneratePatchesExtension:   "generate-patches." + extensionName,
			ValidateTopologyExtension:  "validate-topology." + extensionName,
		}}}
		return env.Client.Patch(ctx, class, before)
	}).WithTimeout(time.Minute).Should(Succeed())
	Eventually(ctx, func(g Gomega) {
		g.Expect(env.Client.Get(ctx, key, class)).To(Succeed())
		g.Expect(class.Status.ObservedGeneration).To(Equal(class.Generation))
		ready := apimeta.FindStatusCondition(class.Status.Conditions, clusterv1.ClusterClassVariablesReadyCondition)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), ready.Message)
		g.Expect(class.Status.Variables).To(HaveLen(1))
		g.Expect(class.Status.Variables[0].Definitions).To(ConsistOf(HaveField("From", extensionName)))
	}).WithTimeout(2 * time.Minute).Should(Succeed())
}

// eventuallyTopology waits for Cluster API to have reconciled the topology, or to have said why it does not.
func (w *world) eventuallyTopology(ctx context.Context, status metav1.ConditionStatus, message string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		cluster := &clusterv1.Cluster{}
		g.Expect(env.Client.Get(ctx, w.key(), cluster)).To(Succeed())
		condition := apimeta.FindStatusCondition(cluster.Status.Conditions, clusterv1.ClusterTopologyReconciledCondition)
		g.Expect(condition).NotTo(BeNil())
		g.Expect(fmt.Sprintf("%s %s", condition.Status, condition.Message)).To(And(HavePrefix(string(status)), ContainSubstring(message)))
	}).WithTimeout(2 * time.Minute).Should(Succeed())
}
