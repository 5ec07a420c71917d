package envtest_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// TestTheVariableAndTheCachesDoNotDisturbEachOther runs the whole manager: two controllers write the same RegistryCache, each its own
// part. It guards I6.
func TestTheVariableAndTheCachesDoNotDisturbEachOther(t *testing.T) {
	g := NewWithT(t)
	mgr := env.NewManager(t, env.WithoutWebhook)
	g.Expect(controllers.SetupWithManager(t.Context(), mgr, controllers.Options{})).To(Succeed())
	env.Start(t, mgr, true)
	namespace := env.CreateNamespace(t)
	cluster := env.CreateCluster(t, namespace, "c1", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"}
		c.Spec.Topology = clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: envtest.KubernetesVersion}
		c.Spec.Topology.Variables = registryCacheVariable(`{"namespace":"caches-` + namespace + `","caches":[{"upstream":"docker.io"}]}`)
	})
	rc := &v1alpha1.RegistryCache{}
	current := func() *v1alpha1.RegistryCache {
		g.Expect(client.IgnoreNotFound(env.Client.Get(t.Context(), key(cluster), rc))).To(Succeed())
		return rc
	}
	applied := func() string { return status(current(), v1alpha1.VariableAppliedCondition) }
	g.Eventually(applied, timeout).Should(Equal("True Applied"))
	g.Eventually(func() string { return status(current(), v1alpha1.AddressesAllocatedCondition) }, timeout).Should(Equal("True Allocated"))
	g.Expect(rc.OwnerReferences).To(HaveLen(1), "the Cluster is an owner once")
	g.Expect(metav1.IsControlledBy(rc, cluster)).To(BeTrue())

	// Nothing is connected here, so it settles soon, and stays so.
	settled := func() string { return current().ResourceVersion }
	g.Eventually(func(g Gomega) { g.Consistently(settled, 2*time.Second).Should(Equal(settled())) }, timeout).Should(Succeed())

	before := cluster.DeepCopy()
	g.Expect(env.Client.Get(t.Context(), key(cluster), cluster)).To(Succeed())
	cluster.Spec.Topology.Variables = registryCacheVariable(`{"caches":[]}`)
	g.Expect(env.Client.Patch(t.Context(), cluster, client.MergeFrom(before))).To(Succeed())
	g.Eventually(applied, timeout).Should(Equal("False Invalid"))
	ready := conditions.Get(current(), v1alpha1.ReadyCondition)
	g.Expect(ready.Message).NotTo(ContainSubstring("variable"), "caches run as they did, so Ready says nothing of it (I5)")
	g.Eventually(func(g Gomega) { g.Consistently(settled, 2*time.Second).Should(Equal(settled())) }, timeout).Should(Succeed())
	g.Expect(applied()).To(Equal("False Invalid"))
	g.Expect(rc.Spec.Caches).To(HaveLen(1))

	before = cluster.DeepCopy()
	cluster.Spec.Topology.Variables = nil
	g.Expect(env.Client.Patch(t.Context(), cluster, client.MergeFrom(before))).To(Succeed())
	g.Eventually(func() error { return env.Client.Get(t.Context(), key(cluster), rc) }, timeout).Should(MatchError(ContainSubstring("not found")),
		"the caches go in the way that they always go")
}

func registryCacheVariable(value string) []clusterv1.ClusterVariable {
	return []clusterv1.ClusterVariable{{Name: v1alpha1.ClusterVariable, Value: apiextensionsv1.JSON{Raw: []byte(value)}}}
}

// status is a condition as status and reason, "" if there is none.
func status(rc *v1alpha1.RegistryCache, condition string) string {
	c := conditions.Get(rc, condition)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

// TestASetAndTheVariableHandARegistryCacheToEachOther runs the whole manager: what is in place goes on in the hands of the variable (I2),
// and the set makes it anew when the variable has gone.
func TestASetAndTheVariableHandARegistryCacheToEachOther(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(timeout)
	namespace := env.CreateNamespace(t)
	mgr := env.NewManager(t, env.WithoutWebhook, func(o *ctrl.Options) { // other tests of this time have no manager
		o.Cache.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	})
	g.Expect(controllers.SetupWithManager(t.Context(), mgr, controllers.Options{WatchNamespace: namespace})).To(Succeed())
	env.Start(t, mgr, true)
	cluster := env.CreateCluster(t, namespace, "c1", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"}
		c.Spec.Topology = clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: envtest.KubernetesVersion}
	})
	set := &v1alpha1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "all"}}
	set.Spec.Template.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io"}}
	g.Expect(env.Client.Create(t.Context(), set)).To(Succeed())
	rc := &v1alpha1.RegistryCache{}
	keptBy := func(keeper client.Object, upstreams ...string) {
		t.Helper()
		g.Eventually(func(g Gomega) {
			g.Expect(env.Client.Get(t.Context(), key(cluster), rc)).To(Succeed())
			g.Expect(metav1.IsControlledBy(rc, keeper)).To(BeTrue(), "%v", rc.OwnerReferences)
			var endpoints []string
			for _, c := range rc.Status.Caches {
				endpoints = append(endpoints, c.Upstream+" "+c.Endpoint)
			}
			g.Expect(endpoints).To(HaveExactElements(upstreams))
			g.Expect(rc.DeletionTimestamp).To(BeNil())
		}).Should(Succeed())
	}
	setVariables := func(variables []clusterv1.ClusterVariable) {
		t.Helper()
		g.Expect(env.Client.Get(t.Context(), key(cluster), cluster)).To(Succeed())
		before := cluster.DeepCopy()
		cluster.Spec.Topology.Variables = variables
		g.Expect(env.Client.Patch(t.Context(), cluster, client.MergeFrom(before))).To(Succeed())
	}
	keptBy(set, "docker.io https://10.0.0.16:5000")
	first := rc.UID

	setVariables(registryCacheVariable(`{"caches":[{"upstream":"docker.io"},{"upstream":"quay.io"}]}`))
	keptBy(cluster, "docker.io https://10.0.0.16:5000", "quay.io https://10.0.0.15:5000")
	g.Expect(rc.UID).To(Equal(first))
	g.Expect(rc.OwnerReferences).To(HaveLen(1))
	g.Expect(rc.Labels).NotTo(HaveKey(v1alpha1.SetLabel))

	setVariables(nil)
	keptBy(set, "docker.io https://10.0.0.16:5000")
	g.Expect(rc.UID).NotTo(Equal(first))
	g.Eventually(func() string { return status(rc, v1alpha1.VariableAppliedCondition) }).Should(BeEmpty())
}
