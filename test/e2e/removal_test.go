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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

func removalSpecs(w *world) {
	It("keeps no object of ours when its RegistryCache is deleted (I8)", func(ctx context.Context) {
		Expect(managed(ctx, w.cluster)).NotTo(BeEmpty())
		rc := w.cluster.RegistryCache()
		Expect(env.Client.Delete(ctx, rc)).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, w.key(), rc))
		}).WithTimeout(3 * time.Minute).Should(BeTrue())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(2 * time.Minute).Should(BeEmpty())
		authority := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.cluster.Name, Name: v1alpha1.AuthorityName(w.cluster.Name)}}
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(env.Client.Get(ctx, client.ObjectKeyFromObject(authority), authority))
		}).WithTimeout(time.Minute).Should(BeTrue(), "garbage collection removes the key")
		for _, u := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, w.nodes(ctx), u, false, time.Now().Add(time.Minute))
		}
	}, NodeTimeout(8*time.Minute))

	It("can be deleted when its control plane is already gone (I8)", func(ctx context.Context) {
		Expect(env.Client.Create(ctx, w.cluster.RegistryCache(w.one, w.two))).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, w.cluster) }).WithTimeout(comeback).ShouldNot(BeEmpty())
		controlPlane, _, err := w.cluster.Nodes(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, n := range controlPlane {
			Expect(n.Destroy(ctx)).To(Succeed())
		}
		Expect(w.cluster.Delete(ctx)).To(Succeed())
	}, NodeTimeout(15*time.Minute))
}

var _ = Describe("A cluster with registry caches and no workers", func() {
	It("can be deleted while all of it runs (I8)", func(ctx context.Context) {
		c := env.Cluster("small", 0)
		clusters = append(clusters, c)
		Expect(c.Create(ctx, c.RegistryCache(env.Upstream("registry-one")))).To(Succeed())
		Expect(c.WaitInitialized(ctx)).To(Succeed())
		Eventually(ctx, func() ([]string, error) { return managed(ctx, c) }).WithTimeout(comeback).ShouldNot(BeEmpty())
		Expect(c.Delete(ctx)).To(Succeed())
	}, NodeTimeout(15*time.Minute))
})

// managed are all objects of a workload cluster that carry the label of this project, of whatever kind.
func managed(ctx context.Context, c *stack.Cluster) ([]string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return nil, err
	}
	kinds, err := d.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, group := range kinds {
		for _, kind := range group.APIResources {
			if !slices.Contains(kind.Verbs, "list") {
				continue
			}
			found, err := managedOf(ctx, c, schema.FromAPIVersionAndKind(group.GroupVersion, kind.Kind))
			if err != nil {
				return nil, err
			}
			names = append(names, found...)
		}
	}
	return names, nil
}

func managedOf(ctx context.Context, c *stack.Cluster, kind schema.GroupVersionKind) ([]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := c.Client.List(ctx, list, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}); err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind, err)
	}
	names := make([]string, 0, len(list.Items))
	for _, o := range list.Items {
		names = append(names, fmt.Sprintf("%s %s/%s", kind.Kind, o.Namespace, o.Name))
	}
	return names, nil
}
