//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// rotation is how long the pull loop has to go on to see a whole replacement of the authority: nodes, certificates, the overlap of two
	// minutes that the manager of these specs is told, kubelet's time to mount a Secret, nodes again.
	rotation  = 5 * time.Minute
	nodeState = "/run/capi-registry-cache/state"
)

// tlsSpecs need a cluster whose nodes are all configured for the first upstream.
func tlsSpecs(w *world) {
	It("changes between TLS and plain HTTP while every node pulls, and no pull fails, is slow, or goes around the cache", Label("slow"), func(ctx context.Context) {
		w.ensureConfigured(ctx)
		w.eventuallyEndpoint(ctx, "https")
		pods := w.podUIDs(ctx)
		loop := w.pullThrough(ctx, "tls/modes", 90*time.Second)
		for _, mode := range []v1alpha1.TLSMode{v1alpha1.TLSDisabled, v1alpha1.TLSEnabled, v1alpha1.TLSDisabled, v1alpha1.TLSEnabled} {
			began := time.Now()
			w.update(ctx, func(rc *v1alpha1.RegistryCache) {
				for i := range rc.Spec.Caches {
					rc.Spec.Caches[i].TLS.Mode = mode
				}
			})
			w.eventuallyEndpoint(ctx, map[v1alpha1.TLSMode]string{v1alpha1.TLSDisabled: "http", v1alpha1.TLSEnabled: "https"}[mode])
			AddReportEntry("mode "+string(mode), fmt.Sprintf("on all nodes after %.1fs", time.Since(began).Seconds()))
		}
		loop.expectUndisturbed(ctx, w)
		Expect(w.podUIDs(ctx)).To(Equal(pods), "no cache was restarted")
	}, NodeTimeout(8*time.Minute))

	It("replaces its certificate authority while every node pulls, and no pull fails, is slow, or goes around the cache", Label("slow"), func(ctx context.Context) {
		w.ensureConfigured(ctx)
		w.eventuallyEndpoint(ctx, "https")
		pods, old := w.podUIDs(ctx), w.trusted(ctx)
		Expect(strings.Count(old, "BEGIN CERTIFICATE")).To(Equal(1))
		loop := w.pullThrough(ctx, "tls/rotation", rotation)
		began := time.Now()
		w.update(ctx, func(rc *v1alpha1.RegistryCache) {
			if rc.Annotations == nil {
				rc.Annotations = map[string]string{}
			}
			rc.Annotations[v1alpha1.RotateCAAnnotation] = began.Format(time.RFC3339)
		})
		w.eventuallyTrusted(ctx, And(ContainSubstring(strings.TrimSpace(old)), Not(Equal(old))))
		AddReportEntry("rotation", fmt.Sprintf("nodes trust both after %.1fs", time.Since(began).Seconds()))
		w.eventuallyTrusted(ctx, Not(ContainSubstring(strings.TrimSpace(old))))
		AddReportEntry("rotation", fmt.Sprintf("nodes trust the new one alone after %.1fs", time.Since(began).Seconds()))
		Consistently(ctx, func(g Gomega) { w.allActive(ctx, g) }).WithTimeout(20 * time.Second).WithPolling(2 * time.Second).Should(Succeed())
		loop.expectUndisturbed(ctx, w)
		Expect(w.podUIDs(ctx)).To(Equal(pods), "no cache was restarted")
		w.expectNoKeys(ctx)
	}, NodeTimeout(12*time.Minute))
}

// pullThrough begins pulls of an image that is in the cache already. No blob may go around the cache, so that the machine must not be short of time.
func (w *world) pullThrough(ctx context.Context, repository string, length time.Duration) *loop {
	GinkgoHelper()
	image := push(ctx, w.one, repository)
	slowest(pullLoops(ctx, w.nodes(ctx), image.Ref(), 3*time.Second))
	nodes := w.nodes(ctx)
	return startLoopBeside(ctx, nodes, nodes[:1], w.one, image, length)
}

func (l *loop) expectUndisturbed(ctx context.Context, w *world) {
	GinkgoHelper()
	l.wait()
	l.expectNoneFailed()
	l.expectNoneSlow()
	Expect(blobs(ctx, w.one, l.began, l.image.Repository)).To(BeEmpty())
	w.expectNoTimeouts(ctx)
}

// eventuallyEndpoint waits until every node has the caches by a scheme, and uses them.
func (w *world) eventuallyEndpoint(ctx context.Context, scheme string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		endpoint := w.status(ctx, w.one).Endpoint
		g.Expect(endpoint).To(HavePrefix(scheme + "://"))
		for _, n := range w.nodes(ctx) {
			content, err := n.ReadFile(ctx, stack.HostsFile(w.one.Host()))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(content).To(ContainSubstring("'"+endpoint+"'"), n.Name)
		}
		w.allActive(ctx, g)
	}).WithTimeout(takeover).Should(Succeed())
}

// allActive holds that no node has withdrawn the cache.
func (w *world) allActive(ctx context.Context, g Gomega) {
	for _, n := range w.nodes(ctx) {
		state, err := n.ReadFile(ctx, nodeState)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(state).To(ContainSubstring(w.one.Host()+" active"), n.Name)
	}
}

func (w *world) trusted(ctx context.Context) string {
	GinkgoHelper()
	rc := &v1alpha1.RegistryCache{}
	Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
	return string(rc.Status.CABundle)
}

// eventuallyTrusted waits until every node trusts what the status says, and that is as wanted.
func (w *world) eventuallyTrusted(ctx context.Context, wanted OmegaMatcher) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		trusted := w.trusted(ctx)
		g.Expect(trusted).To(wanted)
		for _, n := range w.nodes(ctx) {
			content, err := n.ReadFile(ctx, path.Join(path.Dir(stack.HostsFile(w.one.Host())), "ca.pem"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.TrimSpace(content)).To(HaveSuffix(strings.TrimSpace(trusted)), n.Name)
			g.Expect(strings.Count(content, "BEGIN")).To(Equal(strings.Count(trusted, "BEGIN")), n.Name)
		}
	}).WithTimeout(rotation).Should(Succeed())
}

func (w *world) podUIDs(ctx context.Context) []types.UID {
	GinkgoHelper()
	var uids []types.UID
	for _, pod := range w.cachePods(ctx, w.one) {
		uids = append(uids, pod.UID)
	}
	Expect(uids).NotTo(BeEmpty())
	return uids
}

// expectNoKeys looks for private keys where there must be none (I7): on nodes, in ConfigMaps, and in Secrets of the management cluster other
// than that of the authority.
func (w *world) expectNoKeys(ctx context.Context) {
	GinkgoHelper()
	for _, n := range w.nodes(ctx) {
		Expect(n.Exec(ctx, "sh", "-c", "grep -rl 'PRIVATE KEY' /etc/capi-registry-cache /run/capi-registry-cache /etc/containerd/certs.d; true")).To(BeEmpty(), n.Name)
	}
	configs := &corev1.ConfigMapList{}
	Expect(w.cluster.Client.List(ctx, configs, client.InNamespace(cacheNamespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
	for _, config := range configs.Items {
		for _, content := range config.Data {
			Expect(content).NotTo(ContainSubstring("PRIVATE KEY"), config.Name)
		}
	}
	secrets := &corev1.SecretList{}
	Expect(env.Client.List(ctx, secrets, client.InNamespace(w.cluster.Name), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})).To(Succeed())
	for _, secret := range secrets.Items {
		if secret.Name != v1alpha1.AuthorityName(w.cluster.Name) {
			Expect(secret.Data).NotTo(HaveKey(corev1.TLSPrivateKeyKey), secret.Name)
		}
	}
}
