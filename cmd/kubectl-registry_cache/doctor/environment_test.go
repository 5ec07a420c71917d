package doctor_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/doctor"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	upstream   = "docker.io"
	patience   = 30 * time.Second
	generation = manifests.GenerationAnnotation
)

var (
	env    *envtest.Environment
	update = flag.Bool("update", false, "write the golden files")
)

func TestMain(m *testing.M) { os.Exit(envtest.Run(m, &env)) }

// patient is a healthy Cluster: the real manager made its objects and conditions, and the test does what the controllers of Kubernetes and the
// kubelets would do.
type patient struct {
	*WithT
	t         *testing.T
	namespace string
	rc        *v1alpha1.RegistryCache
	pods      *fakePods
	options   doctor.Options
}

// fakePods answers for Pods, which do not run here. What a Pod serves cannot be asked, so its Secret is looked at.
type fakePods struct {
	answers map[string]any
	metrics func() string
}

func (f *fakePods) Get(_ context.Context, pod client.ObjectKey, port int, path string) ([]byte, error) {
	if path == "/metrics" {
		return []byte(f.metrics()), nil
	}
	answer, known := f.answers[fmt.Sprintf("%s:%d%s", pod.Name, port, path)]
	if now, isFunc := answer.(func() any); isFunc {
		answer = now()
	}
	if err, isError := answer.(error); isError {
		return nil, err
	}
	if !known {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	return json.Marshal(answer)
}

func (f *fakePods) Certificates(context.Context, client.ObjectKey, int) ([]*x509.Certificate, error) {
	return nil, errors.New("no kubelet forwards ports here")
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{WithT: NewWithT(t), t: t, pods: &fakePods{answers: map[string]any{}}}
	p.SetDefaultEventuallyTimeout(patience)
	p.install()
	mgr := env.NewManager(t)
	p.Expect(controllers.SetupWithManager(t.Context(), mgr, controllers.Options{
		WorkloadImage: "workload:test", RegistryCacheConcurrency: 1, ClusterCacheConcurrency: 1, TopologyConcurrency: 1, RegistryCacheSetConcurrency: 1,
	})).To(Succeed())
	env.Start(t, mgr, true)

	p.namespace = env.CreateNamespace(t)
	cluster := env.CreateCluster(t, p.namespace, "my-cluster", func(c *clusterv1.Cluster) { c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"} })
	env.MarkProvisioned(t, cluster)
	p.rc = &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "my-cluster"}}
	p.rc.Spec.Namespace, p.rc.Spec.Caches = p.namespace, []v1alpha1.Cache{{Upstream: upstream}}
	p.Expect(env.Client.Create(t.Context(), p.rc)).To(Succeed())
	p.run()
	p.Eventually(func() bool {
		p.get(p.rc)
		return apimeta.IsStatusConditionTrue(p.rc.Status.Conditions, v1alpha1.ReadyCondition)
	}).Should(BeTrue())
	p.options = doctor.Options{
		Management: env.Client, Cluster: client.ObjectKeyFromObject(p.rc), LeasePatience: time.Second, PullPatience: 2 * time.Second,
		Connect: func(ctx context.Context, cluster client.ObjectKey) (*reach.Workload, error) {
			workload, err := reach.Connect(ctx, env.Client, cluster, "")
			if err == nil {
				workload.Pods = p.pods
			}
			return workload, err
		},
	}
	return p
}

// pause keeps the manager from mending what the test breaks.
func (p *patient) pause() {
	p.change(p.rc, func() { metav1.SetMetaDataAnnotation(&p.rc.ObjectMeta, clusterv1.PausedAnnotation, "") })
	p.Eventually(func() bool {
		p.get(p.rc)
		return apimeta.IsStatusConditionTrue(p.rc.Status.Conditions, v1alpha1.PausedCondition)
	}).Should(BeTrue())
}

// install makes what an installation of a release has beside what envtest installs: the Deployment as it is shipped, ready, and its lease.
func (p *patient) install() {
	objects := envtest.Kustomize(p.t, "config/default")
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	d := &appsv1.Deployment{}
	p.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, d)).To(Succeed())
	p.Expect(env.Client.Create(p.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.Namespace}})).To(Succeed())
	p.Expect(env.Client.Create(p.t.Context(), d)).To(Succeed())
	p.changeStatus(d, func() { d.Status.Replicas, d.Status.ReadyReplicas = 1, 1 })
	lease := leaseOfManager()
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: new("manager-0_x"), LeaseDurationSeconds: new(int32(3600)), RenewTime: &metav1.MicroTime{Time: time.Now()}}
	p.Expect(env.Client.Create(p.t.Context(), lease)).To(Succeed())
}

func leaseOfManager() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "capi-registry-cache-system", Name: "capi-registry-cache-manager-leader-election"}}
}

func managerDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "capi-registry-cache-system", Name: "capi-registry-cache-controller-manager"}}
}

// run lets everything run: the Pod of the cache, and node-sync on two nodes.
func (p *patient) run() {
	set, daemons := p.statefulSet(), p.daemonSet()
	p.Eventually(func() error { return env.Client.Get(p.t.Context(), client.ObjectKeyFromObject(daemons), daemons) }).Should(Succeed())
	p.Eventually(func() error { return env.Client.Get(p.t.Context(), client.ObjectKeyFromObject(set), set) }).Should(Succeed())
	for _, name := range []string{"node-a", "node-b"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
		p.Expect(env.Client.Create(p.t.Context(), n)).To(Succeed())
		p.runPod("node-sync-"+name, name, daemons.Spec.Template.ObjectMeta)
		p.pods.answers["node-sync-"+name+":5002/report"] = map[string]any{"takenOver": true, "upstreams": map[string]string{upstream: "active"}}
	}
	p.runPod("registry-docker-io-0", "node-a", set.Spec.Template.ObjectMeta)
	p.pods.answers["registry-docker-io-0:5001/report"] = asked(5, 5)
	p.pods.metrics = func() string { return metrics(1) }
	p.Expect(env.Client.Create(p.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: p.namespace, Name: "registry-docker-io-x", Labels: map[string]string{discoveryv1.LabelServiceName: "registry-docker-io"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.9"}}},
	})).To(Succeed())
	p.changeStatus(set, func() { set.Status.Replicas, set.Status.ReadyReplicas = 1, 1 })
	p.changeStatus(daemons, func() {
		daemons.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberReady: 2, ObservedGeneration: daemons.Generation}
	})
}

func accessReport(state report.AccessState, message string) report.Report {
	return report.Report{Access: report.Access{State: state, Message: message}, Volume: report.Volume{State: report.VolumeUsable}}
}

// metrics are those of a cache after some pulls.
func metrics(pulls int) string {
	return fmt.Sprintf("registry_proxy_pushed_bytes_total{type=\"blob\"} %d\nregistry_proxy_pulled_bytes_total{type=\"blob\"} 1000\nregistry_proxy_requests_total{type=\"blob\"} %d\n", 1000*pulls, 5*pulls)
}

func (p *patient) runPod(name, node string, template metav1.ObjectMeta) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations}}
	pod.Spec = corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "workload:test"}}}
	p.Expect(env.Client.Create(p.t.Context(), pod)).To(Succeed())
	p.changeStatus(pod, func() { healthy(pod) })
}

func healthy(pod *corev1.Pod) {
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
}

func (p *patient) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: p.namespace, Name: name}
}

func (p *patient) statefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: p.meta("registry-docker-io")}
}

func (p *patient) service() *corev1.Service {
	return &corev1.Service{ObjectMeta: p.meta("registry-docker-io")}
}

func (p *patient) daemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: p.meta(manifests.NodeSyncName)}
}

func (p *patient) get(obj client.Object) {
	p.t.Helper()
	p.Expect(env.Client.Get(p.t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
}

// change reads an object, changes it, and returns what puts it back.
func (p *patient) change(obj client.Object, mutate func()) (undo func()) {
	p.t.Helper()
	p.get(obj)
	before, _ := obj.DeepCopyObject().(client.Object)
	mutate()
	p.Expect(env.Client.Patch(p.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
	return func() {
		p.t.Helper()
		p.get(obj)
		broken, _ := obj.DeepCopyObject().(client.Object)
		before.SetResourceVersion(obj.GetResourceVersion())
		p.Expect(env.Client.Patch(p.t.Context(), before, client.MergeFrom(broken))).To(Succeed())
	}
}

// changeStatus is change for the status.
func (p *patient) changeStatus(obj client.Object, mutate func()) (undo func()) {
	p.t.Helper()
	p.get(obj)
	before, _ := obj.DeepCopyObject().(client.Object)
	mutate()
	p.Expect(env.Client.Status().Patch(p.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
	return func() {
		p.t.Helper()
		p.get(obj)
		broken, _ := obj.DeepCopyObject().(client.Object)
		before.SetResourceVersion(obj.GetResourceVersion())
		p.Expect(env.Client.Status().Patch(p.t.Context(), before, client.MergeFrom(broken))).To(Succeed())
	}
}

// remove deletes an object, and returns what brings one like it back, a Pod running.
func (p *patient) remove(obj client.Object) (undo func()) {
	p.t.Helper()
	p.get(obj)
	p.Expect(env.Client.Delete(p.t.Context(), obj, client.GracePeriodSeconds(0))).To(Succeed())
	return func() {
		p.t.Helper()
		again, _ := obj.DeepCopyObject().(client.Object)
		again.SetResourceVersion("")
		again.SetUID("")
		p.Eventually(func() error { return env.Client.Create(context.Background(), again) }).Should(Succeed())
		if pod, isPod := again.(*corev1.Pod); isPod {
			p.changeStatus(pod, func() { healthy(pod) })
		}
	}
}

// condition sets one of the RegistryCache.
func (p *patient) condition(kind string, status metav1.ConditionStatus, reason, message string) (undo func()) {
	p.t.Helper()
	return p.changeStatus(p.rc, func() {
		apimeta.SetStatusCondition(&p.rc.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	})
}

// podStatus is what the kubelet or the scheduler say of the Pod of the cache.
func (p *patient) podStatus(status corev1.PodStatus) (undo func()) {
	p.t.Helper()
	pod := &corev1.Pod{ObjectMeta: p.meta("registry-docker-io-0")}
	return p.changeStatus(pod, func() { pod.Status = status })
}

// answer is what a Pod says from now on.
func (p *patient) answer(of string, answer any) (undo func()) {
	before := p.pods.answers[of]
	p.pods.answers[of] = answer
	return func() { p.pods.answers[of] = before }
}

// nodeProblem is a report of node-b.
func (p *patient) nodeProblem(reason, upstream, message string) (undo func()) {
	return p.answer("node-sync-node-b:5002/report", map[string]any{
		"takenOver": true, "upstreams": map[string]string{}, "problems": []map[string]string{{"reason": reason, "upstream": upstream, "message": message}},
	})
}

// nodeNotReady is a node whose kubelet says nothing any more, nor does node-sync there.
func (p *patient) nodeNotReady(name string) (undo func()) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	ready := p.changeStatus(n, func() {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
	})
	answers := p.answer("node-sync-"+name+":5002/report", os.ErrDeadlineExceeded)
	return func() { answers(); ready() }
}

func (p *patient) examine() (doctor.Report, error) {
	return doctor.Run(p.t.Context(), p.options, func(doctor.Finding) {})
}

// golden compares a report with a file, which the samples in docs/kubectl.md are made of. What differs from run to run is replaced by what an
// installation has.
func (p *patient) golden(name string) {
	p.t.Helper()
	r, err := p.examine()
	p.Expect(err).NotTo(HaveOccurred())
	content, err := json.MarshalIndent(r, "", "  ")
	p.Expect(err).NotTo(HaveOccurred())
	text := strings.ReplaceAll(string(content), p.namespace, "default") + "\n"
	text = regexp.MustCompile(`mutating-webhook-configuration calls https://[^"]*`).ReplaceAllString(text,
		"capi-registry-cache-mutating-webhook-configuration calls Service capi-registry-cache-system/capi-registry-cache-webhook-service, which has 1 endpoint(s)")
	text = regexp.MustCompile(` in [0-9.]+m?s"`).ReplaceAllString(text, ` in 1.2s"`)
	file := filepath.Join("testdata", name+".golden.json")
	if *update {
		p.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
	}
	want, err := os.ReadFile(file)
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(text).To(Equal(string(want)))
}

// brokenLink is the first link that is broken; the links before it are ok, or need not be checked.
func (p *patient) brokenLink() *doctor.Finding {
	p.t.Helper()
	r, err := p.examine()
	p.Expect(err).NotTo(HaveOccurred())
	i := slices.IndexFunc(r.Links, func(f doctor.Finding) bool { return f.State == doctor.Broken })
	p.Expect(r.Healthy).To(Equal(i < 0))
	if i < 0 {
		return nil
	}
	for _, f := range r.Links[i+1:] {
		p.Expect(f).To(Equal(doctor.Finding{Link: f.Link, State: doctor.NotChecked}))
	}
	return &r.Links[i]
}

func size(quantity string) *resource.Quantity { return new(resource.MustParse(quantity)) }

// pulling is a cluster whose manager has heard of pulls: here it has no kubelet to ask Pods through.
type pulling struct{ client.Client }

func (p pulling) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := p.Client.Get(ctx, key, obj, opts...)
	if rc, is := obj.(*v1alpha1.RegistryCache); is {
		apimeta.SetStatusCondition(&rc.Status.Conditions, metav1.Condition{Type: v1alpha1.CacheInUseCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.CacheInUseReason})
	}
	return err
}

// secretive refuses to list Pods, as it does to somebody who may not.
type secretive struct{ client.Client }

func (s secretive) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, pods := list.(*corev1.PodList); pods {
		return apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no right"))
	}
	return s.Client.List(ctx, list, opts...)
}

// allow lets the user reader read Clusters and RegistryCaches of a namespace.
func allow(t *testing.T, namespace string) {
	t.Helper()
	g := NewWithT(t)
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "reader"}
	g.Expect(env.Client.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{clusterv1.GroupVersion.Group, v1alpha1.GroupVersion.Group}, Resources: []string{"clusters", "registrycaches"}, Verbs: []string{"get", "list"}},
	}})).To(Succeed())
	g.Expect(env.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "reader"}},
	})).To(Succeed())
}
