//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/doctor"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// noticed is how long a breakage may take to be seen where doctor looks, recovered how long its end.
	noticed   = 4 * time.Minute
	recovered = 6 * time.Minute
	// breakageTimeout is for one of them, from healthy to healthy.
	breakageTimeout = 13 * time.Minute

	unitFile         = "/etc/systemd/system/" + stack.NodeUnit
	containerdConfig = "/etc/containerd/config.toml"
	webhookName      = "capi-registry-cache-mutating-webhook-configuration"
	managerNamespace = "capi-registry-cache-system"
)

// One cluster is broken in ten ways, one after the other. Before, in between and after doctor has nothing to say.
var _ = Describe("kubectl registry-cache doctor", Label("slow"), Ordered, ContinueOnFailure, func() {
	e := &examined{world: &world{}}

	BeforeAll(func(ctx context.Context) { e.create(ctx) }, NodeTimeout(20*time.Minute))
	BeforeEach(func(ctx context.Context) { e.eventuallyHealthy(ctx) }, NodeTimeout(recovered+time.Minute))

	It("has nothing to say of a healthy cluster, and sees a pull go through the cache", func(ctx context.Context) {
		node, _ := e.workers(ctx)
		e.pullsThroughCache(ctx, node, "doctor/pull")
		pods := &corev1.PodList{}
		Expect(e.cluster.Client.List(ctx, pods, client.InNamespace(cacheNamespace))).To(Succeed())
		Expect(pods.Items).NotTo(ContainElement(HaveField("Name", HavePrefix("registry-cache-doctor-"))), "the Pod of the pull is removed")
	}, NodeTimeout(3*time.Minute))

	It("sees a pull that goes around the cache", func(ctx context.Context) {
		node, _ := e.workers(ctx)
		file := stack.HostsFile(e.one.Host())
		// The unit, which would tell, does not get to run: what is left is what the counters say.
		DeferCleanup(func(ctx context.Context) {
			_, err := node.Exec(ctx, "systemctl", "kill", "--signal=CONT", stack.NodeUnit)
			Expect(err).NotTo(HaveOccurred())
		})
		_, err := node.Exec(ctx, "sh", "-c", `systemctl kill --signal=STOP "$1" && rm "$0"`, file, stack.NodeUnit)
		Expect(err).NotTo(HaveOccurred())
		report := e.doctor(ctx, "--pull", push(ctx, e.one, "doctor/around").Ref(), "--node", node.Name)
		expectBroken(report, "counters", "counted no request while node "+node.Name, "hosts.toml")
	}, NodeTimeout(breakageTimeout))

	It("sees a pull that the cache is asked for and cannot answer", func(ctx context.Context) {
		DeferCleanup(func(ctx context.Context) {
			e.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].Proxy = nil })
		})
		e.update(ctx, func(rc *v1alpha1.RegistryCache) {
			rc.Spec.Caches[0].Proxy = &v1alpha1.Proxy{HTTPProxy: "http://127.0.0.1:9"}
		})
		node, _ := e.workers(ctx)
		report := doctor.Report{}
		Eventually(ctx, func(g Gomega) { // the cache is another Pod then
			var err error
			report, err = e.examine(ctx, "--pull", push(ctx, e.one, "doctor/no-way-"+strings.ToLower(rand.Text()[:6])).Ref(), "--node", node.Name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(brokenLink(report).Link).To(Equal("counters"))
		}).WithTimeout(noticed).WithPolling(3 * time.Second).Should(Succeed())
		expectBroken(report, "counters", "was asked while node "+node.Name+" pulled, and could not answer", "proxy")
	}, NodeTimeout(breakageTimeout))

	It("names the webhook when its configuration is gone", func(ctx context.Context) {
		configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookName}}
		Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(configuration), configuration)).To(Succeed())
		Expect(env.Client.Delete(ctx, configuration)).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			configuration.ResourceVersion, configuration.UID = "", ""
			Expect(env.Client.Create(ctx, configuration)).To(Succeed())
		})
		e.eventuallyBroken(ctx, "webhook", "new Machines boot without the caches", "Install the same release again")
	}, NodeTimeout(breakageTimeout))

	It("names the webhook when its Service has no endpoint", func(ctx context.Context) {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: managerNamespace, Name: "capi-registry-cache-webhook-service"}}
		Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(service), service)).To(Succeed())
		before := service.DeepCopy()
		service.Spec.Selector["e2e"] = "nobody"
		Expect(env.Client.Patch(ctx, service, client.MergeFrom(before))).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			broken := service.DeepCopy()
			delete(service.Spec.Selector, "e2e")
			Expect(env.Client.Patch(ctx, service, client.MergeFrom(broken))).To(Succeed())
		})
		e.eventuallyBroken(ctx, "webhook", "has no endpoint that is ready", "selector")
	}, NodeTimeout(breakageTimeout))

	It("names the injection when the API server does not trust the webhook", func(ctx context.Context) {
		configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookName}}
		Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(configuration), configuration)).To(Succeed())
		before, right := configuration.DeepCopy(), configuration.Webhooks[0].ClientConfig.CABundle
		another, err := authority.New(time.Now())
		Expect(err).NotTo(HaveOccurred())
		configuration.Webhooks[0].ClientConfig.CABundle = authority.Bundle{another.Certificate}.PEM()
		Expect(env.Client.Patch(ctx, configuration, client.MergeFrom(before))).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			broken := configuration.DeepCopy()
			configuration.Webhooks[0].ClientConfig.CABundle = right
			Expect(env.Client.Patch(ctx, configuration, client.MergeFrom(broken))).To(Succeed())
		})
		e.eventuallyBroken(ctx, "injection", "comes back from the API server without the caches", "caBundle")
	}, NodeTimeout(breakageTimeout))

	It("names the manager when it is scaled to 0", func(ctx context.Context) {
		DeferCleanup(func(ctx context.Context) { Expect(env.ScaleManager(ctx, 1)).To(Succeed()) })
		Expect(env.ScaleManager(ctx, 0)).To(Succeed())
		e.eventuallyBroken(ctx, "manager", "is scaled to 0", "--replicas=1")
	}, NodeTimeout(breakageTimeout))

	It("names the Service that has taken the address", func(ctx context.Context) {
		e.pause(ctx)
		service := e.service(ctx, e.one)
		Expect(e.cluster.Client.Get(ctx, client.ObjectKeyFromObject(service), service)).To(Succeed())
		Expect(e.cluster.Client.Delete(ctx, service)).To(Succeed())
		foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "foreign"}}
		foreign.Spec = corev1.ServiceSpec{ClusterIP: service.Spec.ClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}
		Eventually(ctx, func() error { return e.cluster.Client.Create(ctx, foreign) }).WithTimeout(time.Minute).Should(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(e.cluster.Client.Delete(ctx, foreign)).To(Succeed()) })
		e.eventuallyBroken(ctx, "objects", service.Spec.ClusterIP+" is taken by Service default/foreign", "Delete Service default/foreign")
	}, NodeTimeout(breakageTimeout))

	It("names the cache that no node fits", func(ctx context.Context) {
		DeferCleanup(func(ctx context.Context) {
			e.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].NodeSelector = nil })
		})
		e.update(ctx, func(rc *v1alpha1.RegistryCache) { rc.Spec.Caches[0].NodeSelector = map[string]string{"e2e": "nobody"} })
		e.eventuallyBroken(ctx, "endpoints", "didn't match Pod's node affinity/selector", "nodeSelector")
	}, NodeTimeout(breakageTimeout))

	It("names the volume that is full", func(ctx context.Context) {
		_, err := e.small.Exec(ctx, "sh", "-c", "head -c 62M /dev/zero >/var/small-fills/foreign")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx context.Context) {
			_, err := e.small.Exec(ctx, "rm", "/var/small-fills/foreign")
			Expect(err).NotTo(HaveOccurred())
			e.restartCache(ctx, e.two) // it is told for ten minutes otherwise
		})
		pull(ctx, e.small, push(ctx, e.two, "doctor/full-"+strings.ToLower(rand.Text()[:6])).Ref())
		e.eventuallyBroken(ctx, "volumes", "of the cache of "+e.two.Host()+", is full", "volume.size")
	}, NodeTimeout(breakageTimeout))

	It("names the certificate that nodes do not trust", func(ctx context.Context) {
		e.pause(ctx)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cacheNamespace, Name: manifests.CertificateName(e.status(ctx, e.one).ServiceName)}}
		Expect(e.cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
		before := secret.DeepCopy()
		another, err := authority.New(time.Now())
		Expect(err).NotTo(HaveOccurred())
		names := authority.Names{DNS: []string{secret.Name}, Address: netip.MustParseAddr(e.clusterIP(ctx, e.one))}
		secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], err = another.Issue(names, time.Now())
		Expect(err).NotTo(HaveOccurred())
		Expect(e.cluster.Client.Patch(ctx, secret, client.MergeFrom(before))).To(Succeed())
		DeferCleanup(func(ctx context.Context) { // so that the manager issues another when it works again
			Expect(e.cluster.Client.Delete(ctx, secret)).To(Succeed())
		})
		e.eventuallyBroken(ctx, "certificates", "as Pod "+e.status(ctx, e.one).ServiceName+"-0 serves it", "delete secret "+secret.Name)
	}, NodeTimeout(breakageTimeout))

	It("names the node whose containerd has a list of directories", func(ctx context.Context) {
		_, node := e.workers(ctx)
		const list = stack.CertsDir + ":/etc/docker/certs.d"
		e.configPath(ctx, node, stack.CertsDir, list)
		DeferCleanup(func(ctx context.Context) { e.configPath(ctx, node, list, stack.CertsDir) })
		// The unit would set it at a boot; while containers run it leaves containerd's configuration alone.
		e.eventuallyBroken(ctx, "containerd", "node "+node.Name+": config_path is '"+list+"' and containers run", "drain and reboot the node")
	}, NodeTimeout(breakageTimeout))

	It("names the node with somebody else's hosts.toml", func(ctx context.Context) {
		_, node := e.workers(ctx)
		file := stack.HostsFile(e.one.Host())
		_, err := node.Exec(ctx, "sh", "-c", `echo "# mine" >"$0"`, file)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx context.Context) {
			_, err := node.Exec(ctx, "rm", file)
			Expect(err).NotTo(HaveOccurred())
		})
		e.eventuallyBroken(ctx, "hosts.toml", "node "+node.Name+": "+e.one.Host()+": "+file+" is not ours", "Remove that file")
	}, NodeTimeout(breakageTimeout))

	It("names the node that has no systemd unit", func(ctx context.Context) {
		_, node := e.workers(ctx)
		// node-sync would put a file back within seconds; a directory is in its way.
		_, err := node.Exec(ctx, "sh", "-c", `systemctl stop "$1"; rm "$0" && mkdir "$0"`, unitFile, stack.NodeUnit)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx context.Context) {
			_, err := node.Exec(ctx, "rmdir", unitFile)
			Expect(err).NotTo(HaveOccurred())
		})
		e.eventuallyBroken(ctx, "node-sync", "node "+node.Name+": WriteFailed: writing "+unitFile, "what stands in the way of that file")
	}, NodeTimeout(breakageTimeout))

	It("names the credentials that the upstream refuses", func(ctx context.Context) {
		right := e.passwords[len(e.passwords)-1]
		DeferCleanup(func(ctx context.Context) { e.setPassword(ctx, "basic", right) })
		e.setPassword(ctx, "basic", "wrong-"+rand.Text())
		e.eventuallyBroken(ctx, "credentials", "the cache of "+e.basic.Host(), "Secret "+e.cluster.Name+"/basic")
	}, NodeTimeout(breakageTimeout))

	It("has nothing to say of the cluster that was mended", func(ctx context.Context) {
		one, two := e.workers(ctx)
		e.pullsThroughCache(ctx, one, "doctor/mended-one")
		e.pullsThroughCache(ctx, two, "doctor/mended-two")
	}, NodeTimeout(4*time.Minute))

	AfterAll(func(ctx context.Context) {
		Expect(e.cluster.Delete(ctx)).To(Succeed())
		Expect(e.basic.Remove(ctx)).To(Succeed())
	}, NodeTimeout(10*time.Minute))
})

// examined is a cluster with three caches: the second has a small volume, on the node small, and the third one logs in to its upstream.
type examined struct {
	*world
	upstreams
	small stack.Node
}

func (e *examined) create(ctx context.Context) {
	GinkgoHelper()
	e.upstreams.world = e.world
	e.cluster, e.began = env.Cluster("doctor", 2), time.Now()
	e.cluster.HostsDirectory = true
	e.one, e.two = env.Upstream("registry-one"), env.Upstream("registry-two")
	e.basic, _ = env.GuardedUpstreams()
	clusters = append(clusters, e.cluster)
	Expect(e.basic.Create(ctx, e.password())).To(Succeed())
	Expect(e.cluster.Create(ctx,
		e.secret(upstreamsCA, map[string]string{"ca.crt": string(env.AuthorityPEM())}),
		e.secret("basic", map[string]string{"username": e.basic.User(), "password": e.passwords[0]}),
	)).To(Succeed())
	Expect(e.cluster.WaitInitialized(ctx)).To(Succeed())
	Expect(e.cluster.WaitReady(ctx)).To(Succeed())
	_, workers, err := e.cluster.Nodes(ctx)
	Expect(err).NotTo(HaveOccurred())
	e.small = workers[0]
	Expect(e.smallVolume(ctx, e.small, "fills")).To(Succeed())
	rc := e.cluster.RegistryCache(e.one, e.two, e.basic.Upstream)
	size := resource.MustParse(smallSize)
	rc.Spec.Caches[1].Volume = v1alpha1.Volume{Size: &size, StorageClassName: new("fills")}
	rc.Spec.Caches[2].RemoteURL = e.basic.RemoteURL()
	rc.Spec.Caches[2].CABundleSecretRef = &v1alpha1.SecretReference{Name: upstreamsCA}
	rc.Spec.Caches[2].CredentialsSecretRef = &v1alpha1.SecretReference{Name: "basic"}
	Expect(env.Client.Create(ctx, rc)).To(Succeed())
}

// pullsThroughCache sees all links in order, up to a pull on a node.
func (e *examined) pullsThroughCache(ctx context.Context, node stack.Node, repository string) {
	GinkgoHelper()
	report := e.doctor(ctx, "--pull", push(ctx, e.one, repository).Ref(), "--node", node.Name)
	Expect(report.Healthy).To(BeTrue(), "%+v", report.Links)
	for _, l := range report.Links {
		Expect(l.State).To(Equal(doctor.OK), "%+v", l)
		Expect(l.Remedy).To(BeEmpty())
	}
}

// doctor is what the plugin finds; its exit code tells the same.
func (w *world) doctor(ctx context.Context, args ...string) doctor.Report {
	GinkgoHelper()
	report, err := w.examine(ctx, args...)
	Expect(err).NotTo(HaveOccurred())
	return report
}

func (w *world) examine(ctx context.Context, args ...string) (doctor.Report, error) {
	report := doctor.Report{}
	out, code, err := w.cluster.Plugin(ctx, append([]string{"doctor", w.cluster.Name, "-o", "json"}, args...)...)
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err == nil && report.Healthy != (code == 0) {
		err = fmt.Errorf("exit code %d with %s", code, out)
	}
	return report, err
}

func (e *examined) eventuallyHealthy(ctx context.Context) {
	GinkgoHelper()
	began := time.Now()
	Eventually(ctx, func(g Gomega) {
		report, err := e.examine(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(report.Healthy).To(BeTrue(), "%+v", report.Links)
		for _, l := range report.Links { // a link that cannot be looked at is no sign of health
			g.Expect(l.State == doctor.OK || slices.Contains([]string{"pull", "counters", "use"}, l.Link)).To(BeTrue(), "%+v", l)
		}
	}).WithTimeout(recovered).WithPolling(5 * time.Second).Should(Succeed())
	AddReportEntry("healthy", fmt.Sprintf("after %.0fs", time.Since(began).Seconds()))
}

// eventuallyBroken waits until doctor names a link, with these parts of a message and a remedy.
func (e *examined) eventuallyBroken(ctx context.Context, link, message, remedy string) {
	GinkgoHelper()
	began := time.Now()
	report := doctor.Report{}
	Eventually(ctx, func(g Gomega) {
		var err error
		report, err = e.examine(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(brokenLink(report)).To(And(HaveField("Link", link), HaveField("Message", ContainSubstring(message))))
	}).WithTimeout(noticed).WithPolling(3 * time.Second).Should(Succeed())
	expectBroken(report, link, message, remedy)
	AddReportEntry("doctor", fmt.Sprintf("after %.0fs: %+v", time.Since(began).Seconds(), brokenLink(report)))
}

// brokenLink is the one that is broken, the zero value if none is.
func brokenLink(report doctor.Report) doctor.Finding {
	i := slices.IndexFunc(report.Links, func(f doctor.Finding) bool { return f.State == doctor.Broken })
	if i < 0 {
		return doctor.Finding{}
	}
	return report.Links[i]
}

func expectBroken(report doctor.Report, link, message, remedy string) {
	GinkgoHelper()
	Expect(brokenLink(report)).To(And(
		HaveField("Link", link), HaveField("Message", ContainSubstring(message)), HaveField("Remedy", ContainSubstring(remedy)),
	), "%+v", report.Links)
}

// pause keeps the manager from mending what a spec breaks, until the spec ends and what it undoes after this is undone.
func (e *examined) pause(ctx context.Context) {
	GinkgoHelper()
	DeferCleanup(func(ctx context.Context) {
		e.update(ctx, func(rc *v1alpha1.RegistryCache) { delete(rc.Annotations, clusterv1.PausedAnnotation) })
	})
	e.update(ctx, func(rc *v1alpha1.RegistryCache) {
		metav1.SetMetaDataAnnotation(&rc.ObjectMeta, clusterv1.PausedAnnotation, "")
	})
	e.eventuallyCondition(ctx, v1alpha1.PausedCondition, metav1.ConditionTrue, clusterv1.PausedReason, time.Minute)
}

func (e *examined) clusterIP(ctx context.Context, up *stack.Upstream) string {
	GinkgoHelper()
	service := e.service(ctx, up)
	Expect(e.cluster.Client.Get(ctx, client.ObjectKeyFromObject(service), service)).To(Succeed())
	return service.Spec.ClusterIP
}

func (e *examined) restartCache(ctx context.Context, up *stack.Upstream) {
	GinkgoHelper()
	pod := e.cachePod(ctx, up)
	Expect(e.cluster.Client.Delete(ctx, &pod)).To(Succeed())
}

// configPath replaces what containerd's configuration has for it, and restarts containerd.
func (e *examined) configPath(ctx context.Context, n stack.Node, from, to string) {
	GinkgoHelper()
	_, err := n.Exec(ctx, "sh", "-c", `grep -q "\"$1\"" "$0" && sed -i "s#\"$1\"#\"$2\"#" "$0" && systemctl restart containerd`, containerdConfig, from, to)
	Expect(err).NotTo(HaveOccurred())
}
