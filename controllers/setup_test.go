package controllers_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

const (
	patience = 30 * time.Second
	// settled is longer than CAPI's rate limit of one reconcile a second for an object.
	settled = 3 * time.Second
)

var env *envtest.Environment

func TestMain(m *testing.M) { os.Exit(envtest.Run(m, &env)) }

// TestACacheRunsInAClusterThatCAPIsClusterCacheConnects is the whole manager with the API server as its own workload cluster.
func TestACacheRunsInAClusterThatCAPIsClusterCacheConnects(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	mgr := env.NewManager(t)
	g.Expect(controllers.SetupWithManager(t.Context(), mgr, controllers.Options{
		WorkloadImage: "workload:test", RegistryCacheConcurrency: 1, ClusterCacheConcurrency: 1,
	})).To(Succeed())
	env.Start(t, mgr, true)

	namespace := env.CreateNamespace(t)
	cluster := env.CreateCluster(t, namespace, "c", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"}
	})
	rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}}
	rc.Spec.Namespace = "caches-" + namespace
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io", CredentialsSecretRef: &addonsv1.SecretReference{Name: "hub"}}}
	hub := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hub"}, StringData: map[string]string{"username": "u", "password": "p"}}
	g.Expect(env.Client.Create(t.Context(), hub)).To(Succeed())
	g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
	get := func(obj client.Object) func() error {
		return func() error { return env.Client.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }
	}
	g.Eventually(func() []addonsv1.CacheStatus { _ = get(rc)(); return rc.Status.Caches }).
		Should(ConsistOf(HaveField("Endpoint", "https://10.0.0.16:5000")), "before the infrastructure is there")

	env.MarkProvisioned(t, cluster)
	in := metav1.ObjectMeta{Namespace: rc.Spec.Namespace, Name: "registry-docker-io"}
	set, service := &appsv1.StatefulSet{ObjectMeta: in}, &corev1.Service{ObjectMeta: in}
	g.Eventually(get(set)).Should(Succeed(), "in a namespace that did not exist")
	g.Expect(get(service)()).To(Succeed())
	first := service.UID
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: rc.Spec.Namespace, Name: "registry-docker-io-credentials"}}
	g.Expect(get(copied)()).To(Succeed())
	g.Expect(get(hub)()).To(Succeed())
	g.Expect(hub.Labels).To(HaveKey(addonsv1.ReferencedLabel), "the shipped rights suffice")
	hub.StringData = map[string]string{"password": "p2"}
	g.Expect(env.Client.Update(t.Context(), hub)).To(Succeed())
	g.Eventually(func() string { _ = get(copied)(); return string(copied.Data["password"]) }).Should(Equal("p2"))

	g.Expect(env.Client.Delete(t.Context(), service)).To(Succeed())
	g.Eventually(func(g Gomega) {
		g.Expect(get(service)()).To(Succeed())
		g.Expect(service.UID).NotTo(Equal(first))
		g.Expect(service.Spec.ClusterIP).To(Equal("10.0.0.16"))
	}).Should(Succeed(), "the watch through the ClusterCache tells of it")

	set.Status.Replicas, set.Status.ReadyReplicas = 1, 1
	g.Expect(env.Client.Status().Update(t.Context(), set)).To(Succeed())
	g.Eventually(func() []metav1.Condition { _ = get(rc)(); return rc.Status.Conditions }).
		Should(ContainElement(And(HaveField("Type", addonsv1.ReadyCondition), HaveField("Status", metav1.ConditionTrue))))

	staysSilent(t, rc)

	g.Expect(env.Client.Delete(t.Context(), rc)).To(Succeed())
	for _, obj := range []client.Object{rc, set, service} {
		g.Eventually(get(obj)).Should(MatchError(ContainSubstring("not found")))
	}
}

// staysSilent wakes the controller and guards I6 by the count of the API server: a resync writes nothing to either cluster.
func staysSilent(t *testing.T, rc *addonsv1.RegistryCache) {
	t.Helper()
	g := NewWithT(t)
	count := func() map[string]float64 {
		return env.Writes(t, "registrycaches", "clusters", "namespaces", "services", "statefulsets", "secrets", "persistentvolumeclaims", "events")
	}
	g.Eventually(func(g Gomega) {
		g.Consistently(count).WithTimeout(settled).WithPolling(500 * time.Millisecond).Should(Equal(count()))
	}).WithTimeout(patience).Should(Succeed())
	before := count()
	g.Expect(before).To(HaveKeyWithValue("APPLY statefulsets", BeNumerically(">", 0)), "the count knows of our writes")
	for i := range 3 {
		annotated := rc.DeepCopy()
		metav1.SetMetaDataAnnotation(&annotated.ObjectMeta, "resync", fmt.Sprint(i))
		g.Expect(env.Client.Patch(t.Context(), annotated, client.MergeFrom(rc))).To(Succeed())
		before["PATCH registrycaches"]++ // by this test
		g.Consistently(count).WithTimeout(settled).WithPolling(500 * time.Millisecond).Should(Equal(before))
	}
}
