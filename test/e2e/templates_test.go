//go:build e2e

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/templates/cluster"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const webhookConfiguration = "capi-registry-cache-mutating-webhook-configuration"

// Existing nodes are left alone here, so what nodes have is from the bootstrap data of their Machines. The ClusterClass has specs of its own.
var _ = Describe("A cluster from a template for users", Label("slow"), func() {
	It("uses its caches by the webhook", func(ctx context.Context) {
		fromTemplate(ctx, "template-classic", cluster.Classic)
	}, NodeTimeout(20*time.Minute))

	It("uses its caches by the Secret that the template names, without the webhook", func(ctx context.Context) {
		const name = "template-reference"
		leaveAlone(ctx, env.Cluster(name, 1).Name)
		w := fromTemplate(ctx, name, cluster.ContentFrom)
		data := w.bootstrapData(ctx)
		Expect(data).To(HaveLen(2))
		for _, one := range data {
			Expect(strings.Count(one, payload.ArchivePath+"\n")).To(Equal(1), "as KubeadmConfig writes it, and nobody else")
		}
	}, NodeTimeout(20*time.Minute))
})

// fromTemplate is a cluster of a template that has pulled an image through its cache. It is deleted after the spec.
func fromTemplate(ctx context.Context, name, template string) *world {
	GinkgoHelper()
	w := &world{cluster: env.Cluster(name, 1), began: time.Now(), one: env.Upstream("registry-one")}
	clusters = append(clusters, w.cluster)
	DeferCleanup(func(ctx context.Context) { Expect(w.cluster.Delete(ctx)).To(Succeed()) }, NodeTimeout(10*time.Minute))
	Expect(w.cluster.CreateFromTemplate(ctx, template, w.one)).To(Succeed())
	Expect(w.cluster.WaitInitialized(ctx)).To(Succeed())
	Expect(w.cluster.WaitReady(ctx)).To(Succeed())
	w.eventuallyConfigured(ctx, w.nodes(ctx), w.one, true, time.Now().Add(comeback))
	_, err := w.pulledThrough(ctx, w.one, "template/image", w.nodes(ctx)...)
	Expect(err).NotTo(HaveOccurred())
	return w
}

// leaveAlone keeps the webhook from a namespace until the spec ends.
func leaveAlone(ctx context.Context, namespace string) {
	GinkgoHelper()
	configuration := &admissionv1.MutatingWebhookConfiguration{}
	Expect(env.Client.Get(ctx, client.ObjectKey{Name: webhookConfiguration}, configuration)).To(Succeed())
	before := configuration.DeepCopy()
	for i := range configuration.Webhooks {
		hook := &configuration.Webhooks[i]
		if hook.NamespaceSelector == nil {
			hook.NamespaceSelector = &metav1.LabelSelector{}
		}
		hook.NamespaceSelector.MatchExpressions = append(hook.NamespaceSelector.MatchExpressions,
			metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{namespace}})
	}
	Expect(env.Client.Patch(ctx, configuration, client.MergeFrom(before))).To(Succeed())
	DeferCleanup(func(ctx context.Context) {
		current := &admissionv1.MutatingWebhookConfiguration{}
		Expect(env.Client.Get(ctx, client.ObjectKey{Name: webhookConfiguration}, current)).To(Succeed())
		changed := current.DeepCopy()
		current.Webhooks = before.Webhooks
		Expect(env.Client.Patch(ctx, current, client.MergeFrom(changed))).To(Succeed())
	}, NodeTimeout(time.Minute))
}

// bootstrapData is that of each Machine.
func (w *world) bootstrapData(ctx context.Context) []string {
	GinkgoHelper()
	return slices.Collect(maps.Values(bootstrapData(ctx, env.Client, w.cluster)))
}

// bootstrapData is that of each Machine of a cluster, by the Machine's name, in the management cluster that it is in.
func bootstrapData(ctx context.Context, in client.Client, of *stack.Cluster) map[string]string {
	GinkgoHelper()
	machines, err := of.Machines(ctx)
	Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, machine := range machines {
		Expect(machine.Spec.Bootstrap.DataSecretName).NotTo(BeNil())
		secret := &corev1.Secret{}
		Expect(in.Get(ctx, client.ObjectKey{Namespace: machine.Namespace, Name: *machine.Spec.Bootstrap.DataSecretName}, secret)).To(Succeed())
		all[machine.Name] = string(secret.Data["value"])
	}
	return all
}
