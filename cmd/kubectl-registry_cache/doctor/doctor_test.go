package doctor_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/doctor"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// breakage is one thing that is wrong.
type breakage struct {
	name string
	harm func(*patient) (undo func())
	link string
	// message and remedy are parts of what is told.
	message, remedy string
}

// TestDoctorNamesTheFirstBrokenLink breaks one thing after the other. In between it has nothing to say.
func TestDoctorNamesTheFirstBrokenLink(t *testing.T) {
	p := newPatient(t)
	p.options.Management = pulling{env.Client}
	p.golden("healthy")
	mended := p.nodeProblem("Conflict", upstream, "/etc/containerd/certs.d/docker.io/hosts.toml is not ours")
	p.golden("conflict")
	mended()
	p.options.Management = env.Client
	p.pause()
	p.Expect(p.brokenLink()).To(BeNil(), "healthy")
	for _, b := range append(managementBreakages(), workloadBreakages()...) {
		t.Run(b.name, func(t *testing.T) {
			p.WithT, p.t = NewWithT(t), t
			p.SetDefaultEventuallyTimeout(patience)
			undo := b.harm(p)
			var f *doctor.Finding
			p.Eventually(func() string { // the API server hears of another webhook a moment later
				if f = p.brokenLink(); f == nil {
					return ""
				}
				return f.Link
			}).Should(Equal(b.link))
			undo()
			p.Expect(f.Message).To(ContainSubstring(b.message))
			p.Expect(f.Remedy).To(And(ContainSubstring(b.remedy), ContainSubstring("The RegistryCache is paused")))
			p.Eventually(p.brokenLink).Should(BeNil(), "healthy again")
		})
	}
	p.WithT, p.t = NewWithT(t), t
	t.Run("what is no trouble", func(t *testing.T) { harmless(t, p) })
	t.Run("a cluster that is out of reach", func(t *testing.T) { unreachable(t, p) })
	t.Run("a pull", func(t *testing.T) { pulls(t, p) })
	t.Run("rights that are missing", func(t *testing.T) { forbidden(t, p) })
}

func managementBreakages() []breakage {
	return []breakage{
		{"the manager is scaled to 0", func(p *patient) func() {
			d := managerDeployment()
			return p.change(d, func() { d.Spec.Replicas = new(int32) })
		}, "manager", "is scaled to 0", "kubectl -n capi-registry-cache-system scale deployment capi-registry-cache-controller-manager --replicas=1"},
		{"the manager is not ready", func(p *patient) func() {
			d := managerDeployment()
			return p.changeStatus(d, func() { d.Status.ReadyReplicas = 0 })
		}, "manager", "there is no Pod", "logs deployment/"},
		{"the manager is not ready, and its Pods may not be listed", func(p *patient) func() {
			d := managerDeployment()
			ready := p.changeStatus(d, func() { d.Status.ReadyReplicas = 0 })
			p.options.Management = secretive{env.Client}
			return func() { p.options.Management = env.Client; ready() }
		}, "manager", "has no Pod that is ready: why is not known: pods", "get events"},
		{"no manager leads", func(p *patient) func() {
			lease := leaseOfManager()
			return p.change(lease, func() { lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(-2 * time.Hour)} })
		}, "manager", "is not renewed: no manager leads. It was last held by manager-0_x", "logs deployment/"},
		{"the variable is invalid", func(p *patient) func() {
			return p.condition(v1alpha1.VariableAppliedCondition, metav1.ConditionFalse, v1alpha1.VariableInvalidReason, "caches: no")
		}, "spec", "caches: no", "spec.topology.variables"},
		{"a mirror's CA is missing", func(p *patient) func() {
			return p.condition(v1alpha1.MirrorsValidCondition, metav1.ConditionFalse, v1alpha1.CABundleNotUsableReason, "Secret x is not there")
		}, "spec", "Secret x is not there", "caBundleSecretRef"},
		{"there is no address", func(p *patient) func() {
			return p.changeStatus(p.rc, func() {
				p.rc.Status.Caches[0].Endpoint = ""
				apimeta.SetStatusCondition(&p.rc.Status.Conditions, metav1.Condition{
					Type: v1alpha1.AddressesAllocatedCondition, Status: metav1.ConditionFalse, Reason: v1alpha1.AddressesExhaustedReason, Message: "no free address",
				})
			})
		}, "addresses", "no address for the cache of docker.io: no free address", "cidrBlocks"},
		{"the webhook configuration is gone", func(p *patient) func() { return p.remove(p.webhook()) }, "webhook", "new Machines boot without the caches", "docs/by-reference.md"},
		{"cert-manager has not put the CA", func(p *patient) func() {
			config := serviceOf("absent")
			config.CABundle = nil
			return p.clientConfig(config)
		}, "webhook", "has no caBundle", "cert-manager"},
		{"the Service of the webhook is gone", func(p *patient) func() { return p.clientConfig(serviceOf("absent")) }, "webhook", "which is not there", "components"},
		{"the Service of the webhook has no endpoint", func(p *patient) func() {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook"}}
			service.Spec.Ports = []corev1.ServicePort{{Port: 443}}
			p.Expect(client.IgnoreAlreadyExists(env.Client.Create(p.t.Context(), service))).To(Succeed())
			return p.clientConfig(serviceOf("hook"))
		}, "webhook", "no endpoint that is ready", "selector"},
		{"the webhook does not answer", func(p *patient) func() {
			return p.clientConfig(admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/"), CABundle: p.webhook().Webhooks[0].ClientConfig.CABundle})
		}, "injection", "without the caches (tried in a dry run)", "port 9443"},
		{"the workload cluster is not connected", func(p *patient) func() {
			return p.condition(v1alpha1.CachesAvailableCondition, metav1.ConditionUnknown, v1alpha1.ClusterNotConnectedReason, "not connected")
		}, "workload cluster", "the manager is not connected to the workload cluster; from here its API server answers", "Secret my-cluster-kubeconfig"},
		{"no authority was made", withheldCaches, "injection", "new Machines are not told of the cache of docker.io: there is no authority", "docs/tls.md"},
	}
}

func (p *patient) webhook() *admissionregistrationv1.MutatingWebhookConfiguration {
	configurations := &admissionregistrationv1.MutatingWebhookConfigurationList{}
	p.Expect(env.Client.List(p.t.Context(), configurations)).To(Succeed())
	p.Expect(configurations.Items).To(HaveLen(1))
	return &configurations.Items[0]
}

func (p *patient) clientConfig(c admissionregistrationv1.WebhookClientConfig) (undo func()) {
	configuration := p.webhook()
	return p.change(configuration, func() { configuration.Webhooks[0].ClientConfig = c })
}

func serviceOf(name string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		CABundle: []byte("-----BEGIN CERTIFICATE-----\n"), Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: name, Port: new(int32(443))},
	}
}

func workloadBreakages() []breakage {
	return []breakage{
		{"the address is taken", func(p *patient) func() {
			service := p.service()
			p.get(service)
			back := p.remove(service)
			foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "foreign"}}
			foreign.Spec = corev1.ServiceSpec{ClusterIP: service.Spec.ClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}
			p.Eventually(func() error { return env.Client.Create(context.Background(), foreign) }).Should(Succeed())
			return func() {
				p.Expect(env.Client.Delete(context.Background(), foreign)).To(Succeed())
				back()
			}
		}, "objects", "is taken by Service default/foreign", "Delete Service default/foreign"},
		{"the Service is gone", func(p *patient) func() { return p.remove(p.service()) }, "objects", "has no Service", "makes it anew"},
		{"the StatefulSet is gone", func(p *patient) func() { return p.remove(p.statefulSet()) }, "objects", "has no StatefulSet", "makes it anew"},
		{"an object is refused", func(p *patient) func() {
			return p.condition(v1alpha1.NodesConfiguredCondition, metav1.ConditionFalse, v1alpha1.ApplyFailedReason, "violates PodSecurity")
		}, "objects", "violates PodSecurity", "docs/access.md"},
		{"no node fits", func(p *patient) func() {
			return p.podStatus(pending("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector"))
		},
			"endpoints", "didn't match Pod's node affinity/selector", "nodeSelector"},
		{"the claim is pending", pendingClaim, "endpoints", "claim store-x is pending, its StorageClass is absent: ProvisioningFailed: storageclass not found", "EmptyDir"},
		{"the image cannot be pulled", func(p *patient) func() {
			return p.podStatus(waiting(corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such host"}, nil))
		}, "endpoints", "ImagePullBackOff: no such host", "--workload-image"},
		{"the cache starts again and again", func(p *patient) func() {
			return p.podStatus(waiting(corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}, &corev1.ContainerStateTerminated{ExitCode: 2, Message: "panic: x"}))
		}, "endpoints", "exit code 2): panic: x", "Its log says why"},
		{"the Service has no endpoint", func(p *patient) func() {
			return p.remove(&discoveryv1.EndpointSlice{ObjectMeta: p.meta("registry-docker-io-x")})
		}, "endpoints", "has no endpoint", "kube-controller-manager"},
		{"the volume is full", func(p *patient) func() { return p.volume(report.VolumeFull) }, "volumes", "is full: it has 5 MiB left", "volume.size"},
		{"the volume fails", func(p *patient) func() { return p.volume(report.VolumeFailing) }, "volumes", "refuses writes", "logs registry-docker-io-0"},
		{"the volume cannot grow", func(p *patient) func() {
			return p.condition(v1alpha1.VolumesHealthyCondition, metav1.ConditionFalse, v1alpha1.VolumeNotGrownReason, "class x")
		}, "volumes", "class x", "allowVolumeExpansion"},
		{"the certificate is of another authority", anotherCertificate, "certificates", "is not of the authority that new Machines trust (status.caBundle)", "delete secret registry-docker-io.tls"},
		{"the certificate is gone", func(p *patient) func() { return p.remove(&corev1.Secret{ObjectMeta: p.meta("registry-docker-io.tls")}) },
			"certificates", "has no certificate (in Secret registry-docker-io.tls)", "delete secret"},
		{"the authority is rejected", func(p *patient) func() {
			return p.condition(v1alpha1.CertificatesValidCondition, metav1.ConditionFalse, v1alpha1.AuthorityRejectedReason, "somebody else's")
		}, "certificates", "somebody else's", "docs/tls.md"},
		{"the Secret with credentials is missing", func(p *patient) func() {
			return p.condition(v1alpha1.CredentialsValidCondition, metav1.ConditionFalse, v1alpha1.SecretNotFoundReason, "Secret hub")
		}, "credentials", "Secret hub", "docs/credentials.md"},
		{"the credentials are wrong", func(p *patient) func() { return p.access(report.AccessRejected, "401 Unauthorized") }, "credentials", "refuses the credentials: 401 Unauthorized", "without a restart"},
		{"the credentials are withheld", func(p *patient) func() { return p.access(report.AccessWithheld, "auth.example is not sent them") }, "credentials", "auth.example", "remoteURL"},
		{"the upstream is not trusted", func(p *patient) func() { return p.access(report.AccessUntrusted, "unknown authority") }, "credentials", "unknown authority", "caBundleSecretRef"},
		{"the files cannot be read", func(p *patient) func() { return p.access(report.AccessUnreadable, "no such file") }, "credentials", "no such file", "kubelet"},
		{"node-sync is gone", func(p *patient) func() { return p.remove(p.daemonSet()) }, "node-sync", "there is no DaemonSet", "makes it anew"},
		{"node-sync does not run on a node", func(p *patient) func() { return p.remove(&corev1.Pod{ObjectMeta: p.meta("node-sync-node-b")}) }, "node-sync", "node node-b: node-sync does not run there", "describe pods"},
		{"node-sync does not answer", func(p *patient) func() { return p.answer("node-sync-node-b:5002/report", os.ErrDeadlineExceeded) },
			"node-sync", "node node-b: node-sync does not answer", "describe pods"},
		{"no node is ready", func(p *patient) func() {
			a, b := p.nodeNotReady("node-a"), p.nodeNotReady("node-b")
			return func() { a(); b() }
		}, "node-sync", "no node is ready, such as node-a", "describe node node-a"},
		{"a node has no systemd", func(p *patient) func() { return p.nodeProblem("NoSystemd", "", "no bus") }, "node-sync", "node node-b: NoSystemd: no bus", "system_bus_socket"},
		{"the unit cannot be written", func(p *patient) func() { return p.nodeProblem("WriteFailed", "", "file exists") }, "node-sync", "node node-b: WriteFailed: file exists", "in the way of that file"},
		{"the unit does not take over", func(p *patient) func() { return p.nodeProblem("Pending", "", "the unit has not taken over yet") },
			"node-sync", "node node-b: the unit has not taken over yet", "systemctl status configure-containerd-registries"},
		{"containerd has a list", func(p *patient) func() {
			return p.nodeProblem("Unsupported", upstream, "config_path of containerd is '/a:/b', not '/a'")
		}, "containerd", "node node-b: config_path of containerd is '/a:/b', not '/a'", "/etc/containerd/certs.d\" alone"},
		{"containerd has mirrors of its own", func(p *patient) func() {
			return p.nodeProblem("Unsupported", upstream, "registry.mirrors or registry.configs.*.tls exclude config_path: move them to /a")
		}, "containerd", "exclude config_path", "Do not set config_path beside them"},
		{"another directory has files", func(p *patient) func() {
			return p.nodeProblem("Unsupported", upstream, "containerd would no longer read /etc/docker/certs.d: move its files to /a")
		}, "containerd", "would no longer read", "Move those files"},
		{"there is no curl", func(p *patient) func() { return p.nodeProblem("Unsupported", upstream, "curl was not found") }, "containerd", "curl was not found", "Install curl"},
		{"containerd needs a restart", func(p *patient) func() {
			return p.nodeProblem("Unsupported", upstream, "config_path is '' and containers run: drain and reboot, or replace the node")
		}, "containerd", "containers run", "drain and reboot the node"},
		{"somebody else's hosts.toml", func(p *patient) func() {
			return p.nodeProblem("Conflict", upstream, "/etc/containerd/certs.d/docker.io/hosts.toml is not ours")
		}, "hosts.toml", "node node-b: docker.io: /etc/containerd/certs.d/docker.io/hosts.toml is not ours", "Remove that file"},
		{"hosts.toml cannot be written", func(p *patient) func() {
			return p.nodeProblem("WriteFailed", upstream, "cannot write to /etc/containerd/certs.d/docker.io")
		}, "node-sync", "WriteFailed: cannot write to /etc/containerd/certs.d/docker.io", "read-only or full"},
		{"nodes pull around the cache", func(p *patient) func() {
			return p.condition(v1alpha1.CacheInUseCondition, metav1.ConditionFalse, v1alpha1.CacheBypassedReason, "docker.io: node-a pulled around it: it was not asked")
		}, "use", "it was not asked", "docs/in-use.md"},
		{"a node does not reach the cache", func(p *patient) func() {
			return p.answer("node-sync-node-b:5002/report", map[string]any{"takenOver": true, "upstreams": map[string]string{upstream: "waiting"}})
		}, "reach", "node node-b: the cache of docker.io at https://10.0.0.", "kube-proxy"},
	}
}

// withheldCaches has no authority that nodes could check a cache against.
func withheldCaches(p *patient) (undo func()) {
	condition := p.condition(v1alpha1.CertificatesValidCondition, metav1.ConditionFalse, v1alpha1.AuthorityRejectedReason, "Secret x is somebody else's")
	bundle := p.changeStatus(p.rc, func() { p.rc.Status.CABundle = nil })
	return func() { bundle(); condition() }
}

func pending(message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message}}}
}

func waiting(state corev1.ContainerStateWaiting, last *corev1.ContainerStateTerminated) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "cache", Image: "workload:test", State: corev1.ContainerState{Waiting: &state}, LastTerminationState: corev1.ContainerState{Terminated: last},
	}}}
}

// pendingClaim replaces the Pod of the cache by one with a claim that nobody binds.
func pendingClaim(p *patient) (undo func()) {
	healthyPod := &corev1.Pod{ObjectMeta: p.meta("registry-docker-io-0")}
	back := p.remove(healthyPod)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: p.meta("store-x")}
	claim.Spec = corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("absent"), Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *size("1Gi")}},
	}
	event := &corev1.Event{ObjectMeta: p.meta("claim-event"), Type: corev1.EventTypeWarning, Reason: "ProvisioningFailed", Message: "storageclass not found"}
	event.InvolvedObject = corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: p.namespace, Name: "store-x"}
	pod := healthyPod.DeepCopy()
	pod.ResourceVersion, pod.UID, pod.Spec.NodeName = "", "", ""
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "store", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "store-x"}}})
	for _, o := range []client.Object{claim, event, pod} {
		p.Eventually(func() error { return env.Client.Create(p.t.Context(), o) }).Should(Succeed())
	}
	p.changeStatus(claim, func() { claim.Status.Phase = corev1.ClaimPending })
	p.changeStatus(pod, func() {
		pod.Status = pending("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims")
	})
	return func() {
		p.Expect(env.Client.Delete(p.t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
		back()
	}
}

func (p *patient) volume(state report.VolumeState) (undo func()) {
	return p.answer("registry-docker-io-0:5001/report", report.Report{Access: report.Access{State: report.AccessUnused}, Volume: report.Volume{State: state, FreeBytes: 5 << 20}})
}

func (p *patient) access(state report.AccessState, message string) (undo func()) {
	return p.answer("registry-docker-io-0:5001/report", accessReport(state, message))
}

// anotherCertificate is one that fits, of an authority that nobody here trusts.
func anotherCertificate(p *patient) (undo func()) {
	service := p.service()
	p.get(service)
	ca, err := authority.New(time.Now())
	p.Expect(err).NotTo(HaveOccurred())
	certificate, key, err := ca.Issue(authority.Names{DNS: []string{"registry-docker-io"}, Address: netip.MustParseAddr(service.Spec.ClusterIP)}, time.Now())
	p.Expect(err).NotTo(HaveOccurred())
	secret := &corev1.Secret{ObjectMeta: p.meta("registry-docker-io.tls")}
	return p.change(secret, func() { secret.Data = map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key} })
}

// harmless is what looks like trouble and is none, or none that can be known.
func harmless(t *testing.T, p *patient) {
	for name, tc := range map[string]struct {
		change        func() (undo func())
		link, message string
		state         doctor.State
	}{
		"templates take the caches by reference": {func() func() {
			template := &bootstrapv1.KubeadmConfigTemplate{ObjectMeta: p.meta("by-reference")}
			template.Spec.Template.Spec.Files = []bootstrapv1.File{{Path: "/x", ContentFrom: bootstrapv1.FileSource{Secret: bootstrapv1.SecretFileSource{Name: "my-cluster-registry-cache", Key: "k"}}}}
			p.Expect(env.Client.Create(t.Context(), template)).To(Succeed())
			back := p.remove(p.webhook())
			return func() { back(); p.Expect(env.Client.Delete(t.Context(), template)).To(Succeed()) }
		}, "webhook", "bootstrap templates name Secret my-cluster-registry-cache", doctor.OK},
		"a MachinePool takes the caches by reference": {func() func() {
			config := &bootstrapv1.KubeadmConfig{ObjectMeta: p.meta("by-reference")}
			config.Spec.Files = []bootstrapv1.File{{Path: "/x", ContentFrom: bootstrapv1.FileSource{Secret: bootstrapv1.SecretFileSource{Name: "my-cluster-registry-cache", Key: "k"}}}}
			p.Expect(env.Client.Create(t.Context(), config)).To(Succeed())
			back := p.remove(p.webhook())
			return func() { back(); p.Expect(env.Client.Delete(t.Context(), config)).To(Succeed()) }
		}, "webhook", "bootstrap templates name Secret my-cluster-registry-cache", doctor.OK},
		"the webhook is not for a namespace with templates by reference": {func() func() {
			template := &bootstrapv1.KubeadmConfigTemplate{ObjectMeta: p.meta("by-reference")}
			template.Spec.Template.Spec.Files = []bootstrapv1.File{{Path: "/x", ContentFrom: bootstrapv1.FileSource{Secret: bootstrapv1.SecretFileSource{Name: "my-cluster-registry-cache", Key: "k"}}}}
			p.Expect(env.Client.Create(t.Context(), template)).To(Succeed())
			configuration := p.webhook()
			back := p.change(configuration, func() {
				configuration.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"for": "others"}}
			})
			p.Eventually(func() string { // the API server hears of it a moment later
				return p.finding("injection").Message
			}).Should(HavePrefix("bootstrap data comes back without the caches"))
			return func() { back(); p.Expect(env.Client.Delete(t.Context(), template)).To(Succeed()) }
		}, "injection", "bootstrap templates name Secret my-cluster-registry-cache", doctor.OK},
		"a lease was left from a manager that elected": {func() func() {
			lease, d := leaseOfManager(), managerDeployment()
			old := p.change(lease, func() { lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(-2 * time.Hour)} })
			args := p.change(d, func() {
				c := &d.Spec.Template.Spec.Containers[0]
				c.Args = slices.DeleteFunc(c.Args, func(arg string) bool { return arg == "--leader-elect" })
			})
			return func() { args(); old() }
		}, "manager", "is ready", doctor.OK},
		"a cache does not tell how it is": {func() func() { return p.answer("registry-docker-io-0:5001/report", os.ErrDeadlineExceeded) },
			"volumes", "Pod registry-docker-io-0 does not tell how it is", doctor.NotChecked},
		"nor what its upstream says": {func() func() { return p.answer("registry-docker-io-0:5001/report", os.ErrDeadlineExceeded) },
			"credentials", "not every Pod of the caches tells", doctor.NotChecked},
		"Pods may not be asked":      {p.mayNotAsk, "credentials", "the caches could not be asked", doctor.NotChecked},
		"node-sync may not be asked": {p.mayNotAsk, "hosts.toml", "nothing reports from nodes", doctor.NotChecked},
		"existing nodes are left alone": {func() func() {
			return p.change(p.rc, func() { p.rc.Spec.Nodes.Existing = v1alpha1.ExistingNodesIgnore })
		}, "node-sync", "existing is Ignore", doctor.NotChecked},
		"a node is not ready": {func() func() { return p.nodeNotReady("node-b") },
			"node-sync", "1 node(s) report that their unit does as it is told; 1 are not ready, such as node-b, and were left out", doctor.OK},
		"nodes pull through the cache": {func() func() {
			return p.condition(v1alpha1.CacheInUseCondition, metav1.ConditionTrue, v1alpha1.CacheInUseReason, "")
		}, "use", "nodes pull through the caches", doctor.OK},
		"a cache had no answer yet": {func() func() { return p.answer("registry-docker-io-0:5001/report", asked(2, 0)) },
			"use", "The cache of docker.io was asked 2 time(s) and had no answer", doctor.NotChecked},
		"a certificate that TLS does not use": {func() func() {
			back := anotherCertificate(p)
			plain := p.change(p.rc, func() { p.rc.Spec.Caches[0].TLS.Mode = v1alpha1.TLSDisabled })
			return func() { plain(); back() }
		}, "certificates", "0 Pod(s)", doctor.OK},
	} {
		t.Run(name, func(t *testing.T) {
			p.WithT, p.t = NewWithT(t), t
			p.SetDefaultEventuallyTimeout(patience)
			undo := tc.change()
			r, err := p.examine()
			undo()
			p.Expect(err).NotTo(HaveOccurred())
			p.Expect(r.Healthy).To(BeTrue())
			p.Expect(r.Links).To(ContainElement(And(HaveField("Link", tc.link), HaveField("State", tc.state), HaveField("Message", ContainSubstring(tc.message)))))
			p.Eventually(p.brokenLink).Should(BeNil(), "healthy again")
		})
	}
}

// mayNotAsk takes the right to get pods/proxy.
func (p *patient) mayNotAsk() (undo func()) {
	no := apierrors.NewForbidden(corev1.Resource("pods"), "x", errors.New("pods/proxy"))
	var back []func()
	for of := range p.pods.answers {
		back = append(back, p.answer(of, no))
	}
	return func() {
		for _, undo := range back {
			undo()
		}
	}
}

// unreachable is a cluster that cannot be looked at as a whole: nobody may take it for a healthy one.
func unreachable(t *testing.T, p *patient) {
	p.WithT, p.t = NewWithT(t), t
	undo := p.remove(&corev1.Secret{ObjectMeta: p.meta("my-cluster-kubeconfig")})
	defer undo()
	r, err := p.examine()
	p.Expect(err).To(MatchError(ContainSubstring("the workload cluster cannot be reached from here, so nothing in it was looked at")))
	p.Expect(r.Healthy).To(BeFalse())
	p.Expect(r.Links).To(ContainElement(And(HaveField("Link", "workload cluster"), HaveField("State", doctor.NotChecked),
		HaveField("Message", ContainSubstring("cannot be reached from here, although the manager is connected")))))
}

// asked is what a cache reports that was asked for manifests.
func asked(asked, answered int64) report.Report {
	tally := func(count int64) report.Tally {
		if count == 0 {
			return report.Tally{}
		}
		return report.Tally{Count: count, SecondsAgo: new(int64(9))}
	}
	r := accessReport(report.AccessUnused, "")
	r.Pulls = &report.Pulls{RunningSeconds: 60, Asked: tally(asked), Answered: tally(answered)}
	return r
}

// finding is that of a link.
func (p *patient) finding(link string) doctor.Finding {
	p.t.Helper()
	r, err := p.examine()
	p.Expect(err).NotTo(HaveOccurred())
	return r.Links[slices.IndexFunc(r.Links, func(f doctor.Finding) bool { return f.Link == link })]
}

// pulls lets the test be the kubelet of the Pod that pulls.
func pulls(t *testing.T, p *patient) {
	for name, tc := range map[string]struct {
		image  string
		status corev1.ContainerStatus
		pulls  int
		link   string
		text   string
	}{
		"goes through the cache": {"docker.io/library/alpine:3.22", corev1.ContainerStatus{Name: "pull", ImageID: "sha256:x"}, 2, "", ""},
		"goes around the cache":  {"alpine", corev1.ContainerStatus{Name: "pull", ImageID: "sha256:x"}, 1, "counters", "counted no request while node node-a pulled"},
		"fails": {"alpine", corev1.ContainerStatus{Name: "pull", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "ErrImagePull", Message: "not found",
		}}}, 1, "pull", "node node-a did not pull alpine: ErrImagePull: not found"},
		"never ends": {"alpine", corev1.ContainerStatus{Name: "pull"}, 1, "pull", "not within 2s; the kubelet has not told"},
	} {
		t.Run(name, func(t *testing.T) {
			p.WithT, p.t = NewWithT(t), t
			count := 1
			p.pods.metrics = func() string { return metrics(count) }
			done := make(chan *corev1.Pod, 1)
			go func() { done <- pullAs(t.Context(), p.namespace, tc.status, func() { count = tc.pulls }) }()
			p.options.Pull = tc.image
			f := p.brokenLink()
			p.options.Pull = ""
			pod := <-done
			p.Expect(pod).NotTo(BeNil())
			p.Expect(pod.Spec.Containers[0].ImagePullPolicy).To(Equal(corev1.PullAlways))
			p.Expect(apierrors.IsNotFound(env.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))).To(BeTrue(), "it is removed")
			if tc.link == "" {
				p.Expect(f).To(BeNil())
				return
			}
			p.Expect(f).To(And(HaveField("Link", tc.link), HaveField("Message", ContainSubstring(tc.text))))
		})
	}
	t.Run("goes to a cache that cannot answer", func(t *testing.T) {
		p.WithT, p.t = NewWithT(t), t
		var count atomic.Int64
		undo := p.answer("registry-docker-io-0:5001/report", func() any { return asked(count.Load(), 0) })
		defer undo()
		go pullAs(t.Context(), p.namespace, corev1.ContainerStatus{Name: "pull", ImageID: "sha256:x"}, func() { count.Store(1) })
		p.options.Pull = "alpine"
		f := p.brokenLink()
		p.options.Pull = ""
		p.Expect(f).To(And(HaveField("Link", "counters"), HaveField("Message", ContainSubstring("was asked while node node-a pulled, and could not answer")),
			HaveField("Remedy", ContainSubstring("logs registry-docker-io-0"))))
	})
	t.Run("through the cache is news to the manager", func(t *testing.T) {
		p.WithT, p.t = NewWithT(t), t
		undo := p.condition(v1alpha1.CacheInUseCondition, metav1.ConditionFalse, v1alpha1.CacheBypassedReason, "docker.io: it was not asked")
		defer undo()
		count := 1
		p.pods.metrics = func() string { return metrics(count) }
		go pullAs(t.Context(), p.namespace, corev1.ContainerStatus{Name: "pull", ImageID: "sha256:x"}, func() { count = 2 })
		p.options.Pull = "alpine"
		f := p.finding("use")
		p.options.Pull = ""
		p.Expect(f).To(And(HaveField("State", doctor.OK), HaveField("Message", ContainSubstring("a node has pulled through the cache of docker.io just now"))))
	})
	t.Run("is ended by the user", func(t *testing.T) {
		p.WithT, p.t = NewWithT(t), t
		ctx, end := context.WithCancel(t.Context())
		made := make(chan *corev1.Pod, 1)
		go func() { made <- pullAs(t.Context(), p.namespace, corev1.ContainerStatus{Name: "pull"}, end) }()
		o := p.options
		o.Pull = "alpine"
		_, err := doctor.Run(ctx, o, func(doctor.Finding) {})
		p.Expect(err).To(MatchError(context.Canceled))
		pod := <-made
		p.Expect(pod).NotTo(BeNil())
		p.Expect(apierrors.IsNotFound(env.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))).To(BeTrue(), "it is removed")
	})
	t.Run("of a Pod that cannot be removed is told", func(t *testing.T) {
		p.WithT, p.t = NewWithT(t), t
		o := p.options
		o.Pull = "alpine"
		o.Connect = func(ctx context.Context, cluster client.ObjectKey) (*reach.Workload, error) {
			workload, err := p.options.Connect(ctx, cluster)
			if err == nil {
				workload.Client = undeletable{workload.Client}
			}
			return workload, err
		}
		made := make(chan *corev1.Pod, 1)
		go func() {
			made <- pullAs(t.Context(), p.namespace, corev1.ContainerStatus{Name: "pull", ImageID: "sha256:x"}, func() {})
		}()
		r, err := doctor.Run(t.Context(), o, func(doctor.Finding) {})
		p.Expect(err).To(MatchError(ContainSubstring("the pull that was asked for: ")))
		pod := <-made
		p.Expect(pod).NotTo(BeNil())
		p.Expect(r.Links).To(ContainElement(And(HaveField("Link", "pull"), HaveField("Message", ContainSubstring("delete pod "+pod.Name)))))
		p.Expect(env.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
	})
	t.Run("of another upstream is refused", func(t *testing.T) {
		p.WithT, p.t = NewWithT(t), t
		p.options.Pull = "quay.io/x/y"
		_, err := p.examine()
		p.options.Pull = ""
		p.Expect(err).To(MatchError(ContainSubstring("is of quay.io, which has no cache here; accepted are images of [docker.io]")))
	})
}

// undeletable is a client of somebody who may not delete.
type undeletable struct{ client.Client }

func (undeletable) Delete(_ context.Context, obj client.Object, _ ...client.DeleteOption) error {
	return apierrors.NewForbidden(corev1.Resource("pods"), obj.GetName(), errors.New("no right"))
}

// pullAs waits for the Pod, counts, and says what became of it.
func pullAs(ctx context.Context, namespace string, status corev1.ContainerStatus, count func()) *corev1.Pod {
	for ctx.Err() == nil {
		pods := &corev1.PodList{}
		_ = env.Client.List(ctx, pods, client.InNamespace(namespace))
		for i := range pods.Items {
			pod := &pods.Items[i]
			if strings.HasPrefix(pod.Name, "registry-cache-doctor-") && len(pod.Status.ContainerStatuses) == 0 {
				count()
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
				_ = env.Client.Status().Update(ctx, pod)
				return pod
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// forbidden looks with the rights of somebody who may read RegistryCaches and Clusters of the namespace, and nothing else.
func forbidden(t *testing.T, p *patient) {
	g := NewWithT(t)
	p.WithT, p.t = g, t
	config, err := clientcmd.BuildConfigFromFlags("", env.Kubeconfig(t, "reader"))
	g.Expect(err).NotTo(HaveOccurred())
	reader, err := reach.Management(config)
	g.Expect(err).NotTo(HaveOccurred())
	o := p.options
	o.Management = reader
	o.Connect = func(ctx context.Context, cluster client.ObjectKey) (*reach.Workload, error) {
		return reach.Connect(ctx, reader, cluster, "")
	}
	_, err = doctor.Run(t.Context(), o, func(doctor.Finding) {})
	g.Expect(err).To(MatchError(ContainSubstring(`cannot get resource "clusters"`)), "there is nothing to go on with")

	allow(t, p.namespace)
	var r doctor.Report
	g.Eventually(func() error { r, err = doctor.Run(t.Context(), o, func(doctor.Finding) {}); return err }).Should(Succeed())
	g.Expect(r.Healthy).To(BeTrue())
	g.Expect(r.Links).To(ContainElements(
		And(HaveField("Link", "manager"), HaveField("State", doctor.NotChecked), HaveField("Message", ContainSubstring(`a right is missing: deployments.apps is forbidden: User "reader" cannot list resource "deployments"`))),
		And(HaveField("Link", "workload cluster"), HaveField("State", doctor.NotChecked), HaveField("Message", ContainSubstring(`secrets "my-cluster-kubeconfig" is forbidden`))),
		And(HaveField("Link", "endpoints"), HaveField("State", doctor.NotChecked)),
	))
	o.Pull = "alpine"
	r, err = doctor.Run(t.Context(), o, func(doctor.Finding) {})
	g.Expect(err).To(MatchError(ContainSubstring("the pull that was asked for was not made")))
	g.Expect(r.Healthy).To(BeFalse())
}

func TestDoctorHasNothingToGoOnWithoutARegistryCache(t *testing.T) {
	g := NewWithT(t)
	namespace := env.CreateNamespace(t)
	env.CreateCluster(t, namespace, "bare")
	for name, message := range map[string]string{"absent": "there is no Cluster " + namespace + "/absent", "bare": "has no RegistryCache"} {
		r, err := doctor.Run(t.Context(), doctor.Options{Management: env.Client, Cluster: client.ObjectKey{Namespace: namespace, Name: name}}, func(doctor.Finding) {})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Healthy).To(BeFalse())
		g.Expect(r.Links[0]).To(And(HaveField("State", doctor.Broken), HaveField("Message", ContainSubstring(message)), HaveField("Remedy", Not(BeEmpty()))))
	}
}

// TestWhatDoctorKnowsOfOthersIsTrue compares names that are written a second time, as they are in programs or manifests.
func TestWhatDoctorKnowsOfOthersIsTrue(t *testing.T) {
	g := NewWithT(t)
	root := filepath.Join("..", "..", "..")
	source := func(folder string) map[string]string {
		s, err := docs.ReadSource(root, folder)
		g.Expect(err).NotTo(HaveOccurred())
		return s.Constants()
	}
	own, nodeSync := source("cmd/kubectl-registry_cache/doctor"), source("workload/nodesync")
	for ours, theirs := range map[string]string{
		"reasonConflict": "ReasonConflict", "reasonUnsupported": "ReasonUnsupported", "reasonNoSystemd": "ReasonNoSystemd", "reasonWriteFailed": "ReasonWriteFailed",
	} {
		g.Expect(own[ours]).To(Equal(nodeSync[theirs]), ours)
	}
	for file, names := range map[string][]string{
		"main.go":                           {own["leaseName"]},
		"config/webhook/manifests.yaml":     {own["webhookName"]},
		"config/default/kustomization.yaml": {own["providerName"], own["defaultNamespace"]},
		"bootstrap/payload/configure-containerd-registries.sh": {"record " + own["stateWaiting"], "record " + own["stateActive"]},
		"bootstrap/payload/managed.sh":                         {"unit=" + own["nodeUnit"] + ".service"},
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		g.Expect(err).NotTo(HaveOccurred())
		for _, name := range names {
			g.Expect(string(content)).To(ContainSubstring(name), file)
		}
	}
}
