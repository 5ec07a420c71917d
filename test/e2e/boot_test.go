//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

func bootSpecs(w *world) {
	It("has the addresses of its caches before the first Machine has bootstrap data", func() {
		allocated, bootstrapData, dataSecretRef := w.order.times()
		Expect(allocated).NotTo(BeZero())
		Expect(bootstrapData).NotTo(BeZero())
		Expect(allocated).To(BeTemporally("<", bootstrapData))
		Expect(allocated).To(BeTemporally("<", dataSecretRef))
	})

	It("hands the payload to every Machine once", func(ctx context.Context) {
		secrets := &corev1.SecretList{}
		Expect(env.Client.List(ctx, secrets, client.InNamespace(w.cluster.Name))).To(Succeed())
		machines := 0
		for _, s := range secrets.Items {
			if ofBootstrapProvider(s.OwnerReferences) && s.Data["value"] != nil {
				machines++
				expectPayloadOnce(s)
			}
		}
		Expect(machines).To(Equal(3))
	}, NodeTimeout(time.Minute))

	It("configures all nodes to use the caches", func(ctx context.Context) {
		nodes := w.nodes(ctx)
		Expect(nodes).To(HaveLen(3))
		for _, u := range []*stack.Upstream{w.one, w.two} {
			w.eventuallyConfigured(ctx, nodes, u, true, time.Now().Add(2*time.Minute))
			for _, n := range nodes {
				content, err := n.ReadFile(ctx, stack.HostsFile(u.Host()))
				Expect(err).NotTo(HaveOccurred())
				Expect(content).To(And(ContainSubstring(w.status(ctx, u).Endpoint), ContainSubstring("https://"), ContainSubstring("ca.pem")))
			}
		}
	}, NodeTimeout(5*time.Minute))

	It("writes hosts.toml on a node only after the cache answered", func(ctx context.Context) {
		for _, u := range []*stack.Upstream{w.one, w.two} {
			ready := readySince(w.cachePods(ctx, u))
			for _, n := range w.nodes(ctx) {
				expectWrittenAfterAnswer(ctx, n, u, w.began)
				written, err := n.ModifiedAt(ctx, stack.HostsFile(u.Host()))
				Expect(err).NotTo(HaveOccurred())
				Expect(written).To(BeTemporally(">=", ready), "hosts.toml of %s on %s", u.Host(), n.Name)
			}
		}
	}, NodeTimeout(2*time.Minute))
}

// expectPayloadOnce looks for the files and for what starts the unit.
func expectPayloadOnce(s corev1.Secret) {
	GinkgoHelper()
	file, unit := "path: /etc/capi-registry-cache/", "systemctl enable --now "+stack.NodeUnit
	if string(s.Data["format"]) == string(bootstrapv1.Ignition) {
		file, unit = `"path":"/etc/capi-registry-cache/`, `"name":"`+stack.NodeUnit+`"`
	}
	data := string(s.Data["value"])
	Expect(strings.Count(data, file)).To(Equal(1), s.Name)
	Expect(strings.Count(data, unit)).To(Equal(1), s.Name)
}

// expectWrittenAfterAnswer looks at what the unit tells in its journal: a cache that answers is written, and active then. When
// it began to answer, its Pod tells.
func expectWrittenAfterAnswer(ctx context.Context, n stack.Node, u *stack.Upstream, since time.Time) {
	GinkgoHelper()
	journal, err := n.Journal(ctx, stack.NodeUnit, since)
	Expect(err).NotTo(HaveOccurred())
	first := func(parts ...string) int {
		return slices.IndexFunc(journal, func(e stack.JournalEntry) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(e.Message, part) })
		})
	}
	wrote, active := first(u.Host(), "wrote", "hosts.toml"), first(u.Host()+": active")
	Expect(wrote).To(BeNumerically(">=", 0), "no line of %s says that hosts.toml of %s was written: %+v", n.Name, u.Host(), journal)
	Expect(active).To(BeNumerically(">", wrote), "order of lines on %s: %+v", n.Name, journal)
	for _, e := range journal[wrote:active] {
		Expect(e.Message).NotTo(And(ContainSubstring(u.Host()), ContainSubstring("does not answer")), n.Name)
	}
}

// readySince is when the cache became ready; Kubernetes tells whole seconds.
func readySince(pods []corev1.Pod) time.Time {
	GinkgoHelper()
	Expect(pods).NotTo(BeEmpty())
	for _, c := range pods[0].Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	Fail("the cache is not ready: " + pods[0].Name)
	return time.Time{}
}
