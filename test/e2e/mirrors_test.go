//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const mirrorSecret = "mirror-ca"

// mirrored is a cluster whose upstream "one" has a mirror in this process, of which nobody but the RegistryCache knows the authority. The
// mirror has what upstream "two" has.
type mirrored struct {
	world
	fronts *stack.Fronts
	mirror *stack.FrontServer
}

var _ = Describe("A cluster with mirrors", Label("slow"), Ordered, ContinueOnFailure, func() {
	w := &mirrored{}
	var machines []string

	BeforeAll(func(ctx context.Context) {
		w.start(ctx)
		w.cluster, w.began = env.Cluster("mirrors", 2), time.Now()
		clusters = append(clusters, w.cluster)
		rc := w.cluster.RegistryCache()
		rc.Spec.Mirrors = w.mirrors()
		Expect(w.cluster.Create(ctx, w.secret(), rc)).To(Succeed())
		Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
		Expect(w.cluster.WaitReady(ctx)).To(Succeed())
		var err error
		machines, err = w.machines(ctx)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(15*time.Minute))

	It("has them on all nodes, and runs no cache", func(ctx context.Context) {
		for _, n := range w.nodes(ctx) {
			Expect(n.ReadFile(ctx, stack.HostsFile(w.one.Host()))).To(ContainSubstring(w.mirror.URL), n.Name)
			Expect(n.ReadFile(ctx, "/run/capi-registry-cache/state")).To(ContainSubstring(w.one.Host()+" static"), n.Name)
		}
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		w.eventuallyCondition(ctx, v1alpha1.AddressesAllocatedCondition, v1alpha1.NoCachesReason)
		w.eventuallyCondition(ctx, v1alpha1.CachesAvailableCondition, v1alpha1.NoCachesReason)
		w.eventuallyCondition(ctx, v1alpha1.MirrorsValidCondition, v1alpha1.MirrorsValidReason)
		w.eventuallyCondition(ctx, v1alpha1.ReadyCondition, "Ready")
		services := &corev1.ServiceList{}
		Expect(w.cluster.Client.List(ctx, services, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
		Expect(services.Items).To(BeEmpty())
	}, NodeTimeout(5*time.Minute))

	// Who was asked first is told by who was asked at all: whoever has the content ends the search.
	It("asks the mirror before the upstream", func(ctx context.Context) {
		absent, present := push(ctx, w.one, "mirrors/absent"), push(ctx, w.two, "mirrors/present")
		for _, n := range w.nodes(ctx) {
			w.fronts.Forget()
			since := time.Now()
			pull(ctx, n, absent.Ref())
			Expect(w.fronts.Orders()).To(HaveKey("mirrors/absent/manifests/v1"), "the mirror, which does not have it")
			Expect(blobs(ctx, w.one, since, "mirrors/absent")).NotTo(BeEmpty(), "the upstream has it")

			since = time.Now()
			pull(ctx, n, w.one.Host()+"/"+present.Repository+":v1")
			Expect(w.fronts.Orders()).To(HaveKey("mirrors/present/manifests/v1"))
			Expect(w.one.Requests(ctx, since, "mirrors/present")).To(BeEmpty(), "the upstream")
		}
	}, NodeTimeout(5*time.Minute))

	It("asks the cache before the mirror, once there is one", func(ctx context.Context) {
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = w.cluster.RegistryCache(w.one).Spec.Caches })
		w.eventuallyAnswers(ctx, w.one)
		endpoint := w.status(ctx, w.one).Endpoint
		for _, n := range w.nodes(ctx) {
			Eventually(ctx, func() (string, error) { return n.ReadFile(ctx, stack.HostsFile(w.one.Host())) }).
				WithTimeout(takeover).Should(And(ContainSubstring(endpoint), ContainSubstring(w.mirror.URL)), n.Name)
		}
		cached, elsewhere := push(ctx, w.one, "mirrors/cached"), push(ctx, w.two, "mirrors/elsewhere")
		node := w.nodes(ctx)[1]
		w.fronts.Forget()
		pull(ctx, node, cached.Ref())
		Expect(w.fronts.Orders()).To(BeEmpty(), "the cache has what the upstream has")

		since := time.Now()
		pull(ctx, node, w.one.Host()+"/"+elsewhere.Repository+":v1")
		Expect(w.one.Requests(ctx, since, "mirrors/elsewhere")).NotTo(BeEmpty(), "the cache asks the upstream, which does not have it")
		Expect(w.fronts.Orders()).To(HaveKey("mirrors/elsewhere/manifests/v1"))
		Expect(w.machines(ctx)).To(Equal(machines), "I2")
	}, NodeTimeout(8*time.Minute))

	It("goes on with the mirror when the cache is gone", func(ctx context.Context) {
		w.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches = nil })
		w.eventuallyGone(ctx, w.one)
		w.eventuallyNodes(ctx, metav1.ConditionTrue, "")
		present := push(ctx, w.two, "mirrors/again")
		for _, n := range w.nodes(ctx) {
			since := time.Now()
			pull(ctx, n, w.one.Host()+"/"+present.Repository+":v1")
			Expect(w.one.Requests(ctx, since, "mirrors/again")).To(BeEmpty(), n.Name)
		}
	}, NodeTimeout(8*time.Minute))

	It("leaves nothing on nodes when it goes", func(ctx context.Context) {
		Expect(env.Client.Delete(ctx, w.cluster.RegistryCache())).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, w.key(), &v1alpha1.RegistryCache{}))
		}).WithTimeout(4 * time.Minute).Should(BeTrue())
		Expect(managed(ctx, w.cluster)).To(BeEmpty())
		for _, n := range w.nodes(ctx) {
			Expect(n.Exec(ctx, "sh", "-c", ourFiles)).To(BeEmpty(), n.Name)
		}
	}, NodeTimeout(6*time.Minute))

	AfterAll(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))
})

// start starts the mirror.
func (w *mirrored) start(ctx context.Context) {
	GinkgoHelper()
	w.one, w.two = env.Upstream("registry-one"), env.Upstream("registry-two")
	backend, err := w.two.PlainURL(ctx)
	Expect(err).NotTo(HaveOccurred())
	w.fronts, err = stack.NewFronts(ctx, stack.Network)
	Expect(err).NotTo(HaveOccurred())
	w.mirror, err = w.fronts.Serve(stack.Front{Name: "mirror", Address: w.fronts.Addresses[0], Backend: backend, TLS: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(w.mirror.Close)
}

func (w *mirrored) mirrors() []v1alpha1.Mirror {
	return []v1alpha1.Mirror{{Upstream: w.one.Host(), Hosts: []v1alpha1.MirrorHost{{
		Host:              w.mirror.URL,
		Capabilities:      []v1alpha1.MirrorCapability{v1alpha1.MirrorPull, v1alpha1.MirrorResolve},
		CABundleSecretRef: &v1alpha1.SecretReference{Name: mirrorSecret},
	}}}}
}

// secret has no label: it is there before anybody looks.
func (w *mirrored) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.cluster.Name, Name: mirrorSecret},
		Data:       map[string][]byte{"ca.crt": w.mirror.CA},
	}
}

// eventuallyCondition waits for a condition that is true for a reason.
func (w *mirrored) eventuallyCondition(ctx context.Context, kind, reason string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		rc := &v1alpha1.RegistryCache{}
		g.Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
		condition := apimeta.FindStatusCondition(rc.Status.Conditions, kind)
		g.Expect(condition).NotTo(BeNil(), kind)
		g.Expect(condition.Status).To(Equal(metav1.ConditionTrue), condition.Message)
		g.Expect(condition.Reason).To(Equal(reason))
	}).WithTimeout(comeback).Should(Succeed())
}
