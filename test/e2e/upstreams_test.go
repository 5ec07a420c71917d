//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	upstreamsCA = "upstreams-ca"
	// credentialRotation is how long new credentials may take to be used and told: kubelet's own pace is a minute and a half.
	credentialRotation = 3 * time.Minute
)

var _ = Describe("Caches of upstreams of every kind", Label("slow"), Ordered, ContinueOnFailure, func() {
	u := &upstreams{world: &world{}}

	BeforeAll(func(ctx context.Context) { u.create(ctx) }, NodeTimeout(15*time.Minute))

	Context("pull", func() { accessSpecs(u) })
	Context("when credentials change", func() { rotationSpecs(u) })
	Context("when a cache starts without its upstream", func() { restartSpecs(u) })

	AfterAll(func(ctx context.Context) {
		Expect(u.cluster.Delete(ctx)).To(Succeed())
		Expect(u.basic.Remove(ctx)).To(Succeed())
		Expect(u.bearer.Remove(ctx)).To(Succeed())
	}, NodeTimeout(10*time.Minute))
})

// upstreams is a cluster whose caches pull by plain http, by https with a private CA, with a password, and with tokens.
type upstreams struct {
	*world
	basic, bearer *stack.Guarded
	// passwords are all that were ever used.
	passwords []string
}

func (u *upstreams) create(ctx context.Context) {
	GinkgoHelper()
	u.cluster, u.began = env.Cluster("upstreams", 2), time.Now()
	u.one, u.two = env.Upstream("registry-one"), env.Upstream("registry-two")
	u.basic, u.bearer = env.GuardedUpstreams()
	clusters = append(clusters, u.cluster)
	Expect(u.basic.Create(ctx, u.password())).To(Succeed())
	Expect(u.bearer.Create(ctx, u.password())).To(Succeed())

	rc := u.cluster.RegistryCache(u.one, u.two, u.basic.Upstream, u.bearer.Upstream)
	caches := rc.Spec.Caches
	caches[1].RemoteURL = u.two.AuthorityURL()
	caches[2].RemoteURL, caches[3].RemoteURL = u.basic.RemoteURL(), u.bearer.RemoteURL()
	for i := range caches[1:] {
		caches[i+1].CABundleSecretRef = &v1alpha1.SecretReference{Name: upstreamsCA}
	}
	caches[2].CredentialsSecretRef = &v1alpha1.SecretReference{Name: "basic"}
	caches[3].CredentialsSecretRef = &v1alpha1.SecretReference{Name: "bearer"}
	Expect(u.cluster.Create(ctx, rc,
		u.secret(upstreamsCA, map[string]string{"ca.crt": string(env.AuthorityPEM())}),
		u.secret("basic", map[string]string{"username": u.basic.User(), "password": u.passwords[0]}),
		u.secret("bearer", map[string]string{"username": u.bearer.User(), "password": u.passwords[1]}),
	)).To(Succeed())
	Expect(u.cluster.WaitInitialized(ctx)).To(Succeed())
	Expect(u.cluster.WaitReady(ctx)).To(Succeed())
	u.eventuallyCondition(ctx, v1alpha1.CredentialsValidCondition, metav1.ConditionTrue, v1alpha1.CredentialsAcceptedReason, comeback)
	for _, up := range u.all() {
		u.eventuallyConfigured(ctx, u.nodes(ctx), up, true, time.Now().Add(comeback))
	}
}

func (u *upstreams) all() []*stack.Upstream {
	return []*stack.Upstream{u.one, u.two, u.basic.Upstream, u.bearer.Upstream}
}

// password is a new one.
func (u *upstreams) password() string {
	u.passwords = append(u.passwords, "pw-"+rand.Text())
	return u.passwords[len(u.passwords)-1]
}

func (u *upstreams) secret(name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: u.cluster.Name, Name: name}, StringData: data}
}

// setPassword changes the password in a Secret of the management cluster.
func (u *upstreams) setPassword(ctx context.Context, name, password string) {
	GinkgoHelper()
	patch := fmt.Sprintf(`{"stringData":{"password":%q}}`, password)
	Expect(env.Client.Patch(ctx, u.secret(name, nil), client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// eventuallyCondition waits for a condition of the RegistryCache and returns its message.
func (w *world) eventuallyCondition(ctx context.Context, kind string, status metav1.ConditionStatus, reason string, within time.Duration) string {
	GinkgoHelper()
	message := ""
	began := time.Now()
	Eventually(ctx, func(g Gomega) {
		rc := &v1alpha1.RegistryCache{}
		g.Expect(env.Client.Get(ctx, w.key(), rc)).To(Succeed())
		got := conditions.Get(rc, kind)
		g.Expect(got).NotTo(BeNil())
		g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{string(status), reason}), got.Message)
		message = got.Message
	}).WithTimeout(within).Should(Succeed())
	AddReportEntry("condition", fmt.Sprintf("%s %s %s after %.1fs: %s", kind, status, reason, time.Since(began).Seconds(), message))
	return message
}

// cachePod is the one Pod of a cache.
func (w *world) cachePod(ctx context.Context, up *stack.Upstream) corev1.Pod {
	GinkgoHelper()
	pods := w.cachePods(ctx, up)
	Expect(pods).To(HaveLen(1))
	return pods[0]
}

// pulledThrough pulls a new image on some nodes. It is an error if the upstream was asked for a blob twice, as a node that goes past the
// cache would, or if one of them is not in the store of the cache, on the node that its volume is on.
func (w *world) pulledThrough(ctx context.Context, up *stack.Upstream, repository string, nodes ...stack.Node) (stack.Image, error) {
	since := time.Now()
	image, err := up.Push(ctx, repository)
	if err != nil {
		return image, err
	}
	for _, n := range nodes {
		if _, err := env.Pull(ctx, n, image.Ref()); err != nil {
			return image, err
		}
	}
	requests, err := up.Requests(ctx, since, repository)
	if err != nil {
		return image, err
	}
	asked := map[string]int{}
	for _, r := range requests {
		if r.Blob() && r.Method == http.MethodGet && r.Status == http.StatusOK {
			asked[r.Path[strings.LastIndex(r.Path, ":")+1:]]++
		}
	}
	node := stack.Node{Name: w.cachePod(ctx, up).Spec.NodeName}
	for digest, times := range asked {
		found, err := node.Exec(ctx, "sh", "-c", `find /var/local-volumes -path "*/blobs/sha256/*/$0/data"`, digest)
		if err != nil || found == "" || times != 1 {
			return image, fmt.Errorf("sha256:%s was asked for %d times, and found in the store as %q: %w", digest, times, found, err)
		}
	}
	if len(asked) < 4 {
		return image, fmt.Errorf("%d blobs were asked for; accepted are three layers and a configuration", len(asked))
	}
	return image, nil
}

func accessSpecs(u *upstreams) {
	for name, up := range map[string]func() *stack.Upstream{
		"an upstream that speaks plain http":                    func() *stack.Upstream { return u.one },
		"an upstream with a certificate of a private CA":        func() *stack.Upstream { return u.two },
		"an upstream that asks for a password":                  func() *stack.Upstream { return u.basic.Upstream },
		"an upstream whose tokens come from a server elsewhere": func() *stack.Upstream { return u.bearer.Upstream },
	} {
		It("an image through the cache, and keep its layers: "+name, func(ctx context.Context) {
			first, second := u.workers(ctx)
			_, err := u.pulledThrough(ctx, up(), "access/image", first, second)
			Expect(err).NotTo(HaveOccurred())
		}, NodeTimeout(5*time.Minute))
	}

	It("as clusterctl can move: the Secrets have its label, and no owner", func(ctx context.Context) {
		for _, name := range []string{"basic", "bearer", upstreamsCA} {
			secret := u.secret(name, nil)
			Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
			Expect(secret.Labels).To(HaveKey("clusterctl.cluster.x-k8s.io/move"))
			Expect(secret.OwnerReferences).To(BeEmpty())
		}
	}, NodeTimeout(time.Minute))
}

func rotationSpecs(u *upstreams) {
	for name, guarded := range map[string]func() *stack.Guarded{
		"basic": func() *stack.Guarded { return u.basic }, "bearer": func() *stack.Guarded { return u.bearer },
	} {
		It("at the upstream and in the Secret, pulls go on in the same Pod: "+name, func(ctx context.Context) {
			g := guarded()
			node, other := u.workers(ctx)
			before := u.cachePod(ctx, g.Upstream)
			password := u.password()
			Expect(g.SetPassword(password)).To(Succeed())
			u.setPassword(ctx, name, password)
			pull(ctx, node, push(ctx, g.Upstream, "rotated/at-once").Ref())

			Eventually(ctx, func(ctx context.Context) error {
				_, err := u.pulledThrough(ctx, g.Upstream, "rotated/"+strings.ToLower(rand.Text()[:6]), node, other)
				return err
			}).WithTimeout(credentialRotation).WithPolling(5*time.Second).Should(Succeed(), "through the cache again")
			u.eventuallyCondition(ctx, v1alpha1.CredentialsValidCondition, metav1.ConditionTrue, v1alpha1.CredentialsAcceptedReason, credentialRotation)
			after := u.cachePod(ctx, g.Upstream)
			Expect(after.UID).To(Equal(before.UID))
			Expect(after.Status.ContainerStatuses[0].RestartCount).To(Equal(before.Status.ContainerStatuses[0].RestartCount))
		}, NodeTimeout(8*time.Minute))

		It("to a wrong password, it is told with the upstream's answer, and nodes still pull: "+name, func(ctx context.Context) {
			g := guarded()
			node, _ := u.workers(ctx)
			right := u.password()
			Expect(g.SetPassword(right)).To(Succeed())
			u.setPassword(ctx, name, u.password())
			message := u.eventuallyCondition(ctx, v1alpha1.CredentialsValidCondition, metav1.ConditionFalse, v1alpha1.UpstreamRejectedReason, 2*credentialRotation)
			Expect(message).To(And(ContainSubstring(g.Host()), ContainSubstring("401 Unauthorized")))
			pull(ctx, node, push(ctx, g.Upstream, "wrong/public").Ref())
			u.setPassword(ctx, name, right)
			u.eventuallyCondition(ctx, v1alpha1.CredentialsValidCondition, metav1.ConditionTrue, v1alpha1.CredentialsAcceptedReason, 2*credentialRotation)
		}, NodeTimeout(15*time.Minute))
	}

	It("no password is in any log, Event, condition, ConfigMap or user data (I7)", func(ctx context.Context) {
		dir, err := os.MkdirTemp("", "leaks")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(os.RemoveAll, dir)
		u.dump(ctx, dir)
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		Expect(err).NotTo(HaveOccurred())
		Expect(len(files)).To(BeNumerically(">=", 7))
		for _, file := range files {
			content, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			Expect(content).NotTo(BeEmpty(), file)
			for _, password := range u.passwords {
				// A password begins at any of three places of base64; its middle is the same wherever that is.
				Expect(string(content)).NotTo(ContainSubstring(password), file)
				for skip := range 3 {
					encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", skip) + password))
					Expect(string(content)).NotTo(ContainSubstring(encoded[4:len(encoded)-4]), "%s, in base64", file)
				}
			}
		}
	}, NodeTimeout(5*time.Minute))
}

// dump writes what may not hold a password: logs, objects without Secrets, user data, and what nodes have of ours.
func (u *upstreams) dump(ctx context.Context, dir string) {
	GinkgoHelper()
	workload, err := u.cluster.Kubectl(ctx)
	Expect(err).NotTo(HaveOccurred())
	management := []string{workload[0], "--kubeconfig", env.Kubeconfig()}
	const objects = "events,configmaps,pods,statefulsets,daemonsets,controllerrevisions,services"
	for name, command := range map[string][]string{
		"management-objects": append(slices.Clone(management), "get", objects+",cluster-api,registrycaches", "-A", "-o", "yaml"),
		"management-logs":    append(slices.Clone(management), "logs", "-n", "capi-registry-cache-system", "--all-containers", "--tail", "-1", "-l", "control-plane=controller-manager"),
		"workload-objects":   append(slices.Clone(workload), "get", objects, "-A", "-o", "yaml"),
		"workload-logs":      append(slices.Clone(workload), "logs", "-n", cacheNamespace, "-l", v1alpha1.ManagedByLabel+"="+v1alpha1.ManagedByValue, "--prefix", "--tail", "-1", "--max-log-requests", "50"),
	} {
		printed, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), "%v: %s", command, printed)
		Expect(os.WriteFile(filepath.Join(dir, name), printed, 0o600)).To(Succeed())
	}
	Expect(os.WriteFile(filepath.Join(dir, "user-data"), []byte(strings.Join(u.bootstrapData(ctx), "\n")), 0o600)).To(Succeed())
	for _, node := range u.nodes(ctx) {
		printed, err := node.Exec(ctx, "sh", "-c", "cat /etc/capi-registry-cache/* /etc/capi-registry-cache/*/*/* /run/capi-registry-cache/* /etc/containerd/certs.d/*/* 2>/dev/null; journalctl --no-pager")
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(dir, node.Name), []byte(printed), 0o600)).To(Succeed())
	}
}

func restartSpecs(u *upstreams) {
	It("because it refuses connections: it is ready, and serves what it has by tag and by digest", func(ctx context.Context) {
		image := u.warm(ctx, u.bearer.Upstream, "restart/refused")
		Expect(u.bearer.Stop(ctx)).To(Succeed())
		DeferCleanup(u.bearer.Start)
		u.restart(ctx, u.bearer.Upstream)
		u.expectServed(ctx, u.bearer.Upstream, image)
	}, NodeTimeout(8*time.Minute))

	It("because it is a black hole: it is ready, and serves what it has by tag and by digest", func(ctx context.Context) {
		image := u.warm(ctx, u.basic.Upstream, "restart/black-hole")
		defer u.blackHole(ctx, u.basic.Upstream)()
		u.restart(ctx, u.basic.Upstream)
		u.expectServed(ctx, u.basic.Upstream, image)
	}, NodeTimeout(8*time.Minute))
}

// warm makes a cache have an image. The node that pulls it is not asked to pull it again.
func (u *upstreams) warm(ctx context.Context, up *stack.Upstream, repository string) stack.Image {
	GinkgoHelper()
	first, _ := u.workers(ctx)
	image, err := u.pulledThrough(ctx, up, repository, first)
	Expect(err).NotTo(HaveOccurred())
	return image
}

// blackHole drops what the nodes send to an upstream, their Pods too, until the function that it returns is called. The last spec cannot
// leave that to DeferCleanup, which comes when the cluster is gone.
func (u *upstreams) blackHole(ctx context.Context, up *stack.Upstream) (lift func()) {
	GinkgoHelper()
	addresses, err := up.Addresses(ctx)
	Expect(err).NotTo(HaveOccurred())
	nodes := u.nodes(ctx)
	rule := func(action string) {
		for _, node := range nodes {
			for _, chain := range []string{"FORWARD", "OUTPUT"} {
				_, err := node.Exec(ctx, "iptables", "-w", action, chain, "-d", addresses[0], "-j", "DROP")
				Expect(err).NotTo(HaveOccurred())
			}
		}
	}
	rule("-I")
	return func() { rule("-D") }
}

// restart deletes the Pod of a cache and waits for the next one.
func (u *upstreams) restart(ctx context.Context, up *stack.Upstream) {
	GinkgoHelper()
	before := u.cachePod(ctx, up)
	Expect(u.cluster.Client.Delete(ctx, &before)).To(Succeed())
	began := time.Now()
	Eventually(ctx, func() bool {
		pods := u.cachePods(ctx, up)
		return len(pods) == 1 && pods[0].UID != before.UID && slices.ContainsFunc(pods[0].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}).WithTimeout(comeback).Should(BeTrue())
	AddReportEntry("restart", fmt.Sprintf("ready %.1fs after its Pod was deleted", time.Since(began).Seconds()))
	u.eventuallyConfigured(ctx, u.nodes(ctx), up, true, time.Now().Add(comeback))
}

// expectServed pulls on nodes that do not have the image, and that cannot have it from the upstream.
func (u *upstreams) expectServed(ctx context.Context, up *stack.Upstream, image stack.Image) {
	GinkgoHelper()
	since := time.Now()
	_, second := u.workers(ctx)
	pull(ctx, second, image.Ref())
	pull(ctx, u.nodes(ctx)[0], image.DigestRef())
	Expect(blobs(ctx, up, since, image.Repository)).To(BeEmpty())
}
