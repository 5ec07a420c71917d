package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/logs"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlenvtest "sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	metricsdoc "github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
	"github.com/capi-registry-cache/capi-registry-cache/test/promtool"
)

const (
	managerNamespace = "capi-registry-cache-system"
	managerAccount   = "capi-registry-cache-manager"

	rbacPatience = 40 * time.Second
)

// TestTheManagerMayDoWhatItDoesAndNothingElse runs the manager with the arguments of config/default as the ServiceAccount of config/default,
// with its roles alone, lets it do all that it does, and reads in the audit log of the API server what it asked for: nothing was refused,
// and nothing is granted that was not used. The workload cluster is reached as somebody else.
func TestTheManagerMayDoWhatItDoesAndNothingElse(t *testing.T) {
	r := newRBAC(t)
	r.startManager()
	r.servesAMetricsReader()
	r.bringsUpCaches()
	r.tellsMetrics()
	r.followsASecret()
	r.injectsBootstrapData()
	r.servesASet()
	r.servesAVariable()
	r.removesEverything()

	used := r.used()
	var unused []permission
	for _, granted := range r.granted() {
		if !used.covers(granted) {
			unused = append(unused, granted)
		}
	}
	r.Expect(unused).To(BeEmpty(), "granted and never used")
}

// rbac is an API server of its own, with the roles as they are shipped, and the manager.
type rbac struct {
	*WithT
	t       *testing.T
	env     *envtest.Environment
	audit   *envtest.Audit
	rules   []scopedRule
	args    []string
	metrics string
	token   string

	namespace string
	cluster   *clusterv1.Cluster
	cache     *v1alpha1.RegistryCache
}

func newRBAC(t *testing.T) *rbac {
	t.Helper()
	r := &rbac{WithT: NewWithT(t), t: t}
	r.SetDefaultEventuallyTimeout(rbacPatience)
	var err error
	r.audit, err = envtest.NewAudit(t.TempDir(), "system:serviceaccount:"+managerNamespace+":"+managerAccount)
	r.Expect(err).NotTo(HaveOccurred())
	r.env, err = envtest.New(r.audit.Configure, func(server *ctrlenvtest.APIServer) {
		// On by default in some distributions: who changes an owner has to have the right to delete, and to hold up deletions.
		server.Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	})
	r.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = r.env.Stop() })
	r.applyDefault()
	r.namespace = r.env.CreateNamespace(t)
	return r
}

// applyDefault brings ServiceAccount, roles and bindings into the cluster, and takes note of the manager's arguments.
func (r *rbac) applyDefault() {
	for _, object := range envtest.Kustomize(r.t, "config/default") {
		switch object.GetKind() {
		case "Namespace", "ServiceAccount", "ClusterRoleBinding", "RoleBinding":
		case "ClusterRole", "Role":
			role := &rbacv1.ClusterRole{}
			r.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, role)).To(Succeed())
			for _, rule := range role.Rules {
				r.rules = append(r.rules, scopedRule{rule, object.GetNamespace()})
			}
		case "Deployment":
			containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			container, _ := containers[0].(map[string]any)
			r.args, _, _ = unstructured.NestedStringSlice(container, "args")
			continue
		default:
			continue
		}
		err := r.env.Client.Apply(r.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kustomize"))
		r.Expect(err).NotTo(HaveOccurred(), object.GetName())
	}
	r.Expect(r.rules).NotTo(BeEmpty())
	r.Expect(r.args).NotTo(BeEmpty())
}

// options are those of the manager in its Pod, but for ports and files.
func (r *rbac) options() *options {
	r.metrics = freeAddress(r)
	r.t.Setenv("KUBECONFIG", r.env.Kubeconfig(r.t, "system:serviceaccount:"+managerNamespace+":"+managerAccount,
		"system:serviceaccounts", "system:serviceaccounts:"+managerNamespace))
	before := os.Args
	r.t.Cleanup(func() { os.Args = before })
	os.Args = slices.Concat([]string{"manager"}, r.args, r.env.WebhookFlags(),
		[]string{"--diagnostics-address=" + r.metrics, "--health-addr=" + freeAddress(r), "--node-forget-timeout=1s"})
	o := &options{}
	o.logs = logs.NewOptions()
	r.Expect(o.parse(pflag.NewFlagSet("manager", pflag.ContinueOnError))).To(Succeed())
	return o
}

func freeAddress(r *rbac) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.Expect(err).NotTo(HaveOccurred())
	defer listener.Close() //nolint:errcheck // the port is free then
	return listener.Addr().String()
}

func (r *rbac) startManager() {
	r.t.Helper()
	o := r.options()
	config, err := o.restConfig()
	r.Expect(err).NotTo(HaveOccurred())
	managerOptions, err := o.managerOptions()
	r.Expect(err).NotTo(HaveOccurred())
	managerOptions.LeaderElectionNamespace = managerNamespace // a Pod knows its own
	mgr, err := ctrl.NewManager(config, managerOptions)
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(addChecks(mgr)).To(Succeed())
	r.Expect(controllers.SetupWithManager(r.t.Context(), mgr, o.controllers)).To(Succeed())
	r.asksTheAPIServerWhileCachesAreEmpty(mgr)
	r.env.Start(r.t, mgr, true)
}

// asksTheAPIServerWhileCachesAreEmpty calls the webhook before the manager is started.
func (r *rbac) asksTheAPIServerWhileCachesAreEmpty(mgr ctrl.Manager) {
	r.t.Helper()
	raw, err := json.Marshal(r.bootstrapData("early"))
	r.Expect(err).NotTo(HaveOccurred())
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "early"}}
	rc.Spec.Mirrors = []v1alpha1.Mirror{{Upstream: "docker.io", Hosts: []v1alpha1.MirrorHost{{Host: "http://mirror.example.com"}}}}
	r.Expect(r.env.Client.Create(r.t.Context(), rc)).To(Succeed())
	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  &admissionv1.AdmissionRequest{UID: "early", Namespace: r.namespace, Object: runtime.RawExtension{Raw: raw}},
	})
	r.Expect(err).NotTo(HaveOccurred())
	request := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, webhooks.BootstrapDataPath, bytes.NewReader(review))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	mgr.GetWebhookServer().WebhookMux().ServeHTTP(answer, request)
	r.Expect(answer.Code).To(Equal(http.StatusOK))
	r.Expect(answer.Body.String()).To(ContainSubstring(`"patch"`), "its mirror was read")
}

// servesAMetricsReader asks for metrics as one who may read them, and as nobody.
func (r *rbac) servesAMetricsReader() {
	r.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "scraper"}}
	r.Expect(r.env.Client.Create(r.t.Context(), account)).To(Succeed())
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "scraper"}, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
	r.Expect(r.env.Client.Create(r.t.Context(), role)).To(Succeed())
	r.Expect(r.env.Client.Create(r.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scraper"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: r.namespace, Name: "scraper"}},
	})).To(Succeed())
	clientset, err := kubernetes.NewForConfig(r.env.Config)
	r.Expect(err).NotTo(HaveOccurred())
	token, err := clientset.CoreV1().ServiceAccounts(r.namespace).CreateToken(r.t.Context(), "scraper", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	r.Expect(err).NotTo(HaveOccurred())
	r.Eventually(func() string { return r.scrape(token.Status.Token) }).Should(And(HavePrefix("200 "), ContainSubstring("controller_runtime_")))
	r.Expect(r.scrape("")).To(HavePrefix("401 "))
	r.token = token.Status.Token
}

// tellsMetrics holds what the manager serves against docs/metrics.md, and lets promtool look at it.
func (r *rbac) tellsMetrics() {
	r.t.Helper()
	certificate := `capi_registry_cache_certificate_expiry_timestamp_seconds{name="c",namespace="` + r.namespace + `",upstream="quay.io"}`
	r.Eventually(func() string { return r.scrape(r.token) }).Should(ContainSubstring(certificate))
	served := []byte(strings.TrimPrefix(r.scrape(r.token), "200 "))
	missing, err := metricsdoc.Compare(".", metricsdoc.Manager, served)
	r.Expect(err).NotTo(HaveOccurred())
	// No node reports here; whether the manager has counted them, which are none, depends on how far it has come.
	r.Expect(missing).To(ContainElement("capi_registry_cache_in_use"))
	r.Expect([]string{"capi_registry_cache_in_use", "capi_registry_cache_nodes", "capi_registry_cache_nodes_configured"}).To(ContainElements(missing))
	r.Expect(string(served)).To(ContainSubstring("\nprocess_start_time_seconds "), "alerts ask when the process began")
	r.Expect(promtool.CheckMetrics(r.t.Context(), served)).To(Succeed())
}

func (r *rbac) scrape(token string) string {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "https://"+r.metrics+"/metrics", nil)
	r.Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Authorization", "Bearer "+token)
	//nolint:gosec // the certificate is made by the manager itself
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := trusting.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	r.Expect(err).NotTo(HaveOccurred())
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

func (r *rbac) bringsUpCaches() {
	r.t.Helper()
	r.cluster = r.env.CreateCluster(r.t, r.namespace, "c", func(c *clusterv1.Cluster) {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{"10.0.0.0/24"}
	})
	r.env.MarkProvisioned(r.t, r.cluster)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "hub"}, StringData: map[string]string{"username": "u", "password": "p"}}
	r.Expect(r.env.Client.Create(r.t.Context(), secret)).To(Succeed())
	r.cache = &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "c"}}
	r.cache.Spec.Namespace = "caches"
	// Two caches: what is told of both is one Event, which is patched.
	r.cache.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io", CredentialsSecretRef: &v1alpha1.SecretReference{Name: "hub"}}, {Upstream: "quay.io"}}
	r.Expect(r.env.Client.Create(r.t.Context(), r.cache)).To(Succeed())
	for _, name := range []string{"registry-docker-io", "registry-quay-io"} {
		r.Eventually(func() error {
			return r.env.Client.Get(r.t.Context(), client.ObjectKey{Namespace: "caches", Name: name}, &corev1.Service{})
		}).Should(Succeed())
	}
}

// followsASecret sees that the manager is told of a new password.
func (r *rbac) followsASecret() {
	r.t.Helper()
	secret := &corev1.Secret{}
	r.Expect(r.env.Client.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "hub"}, secret)).To(Succeed())
	secret.StringData = map[string]string{"password": "changed"}
	r.Expect(r.env.Client.Update(r.t.Context(), secret)).To(Succeed())
	r.Eventually(func() string {
		copied := &corev1.Secret{}
		_ = r.env.Client.Get(r.t.Context(), client.ObjectKey{Namespace: "caches", Name: "registry-docker-io-credentials"}, copied)
		return string(copied.Data["password"])
	}).Should(Equal("changed"))
}

func (r *rbac) bootstrapData(cluster string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.namespace, Name: "machine-of-" + cluster, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: bootstrapv1.GroupVersion.String(), Kind: "KubeadmConfig", Name: "machine", UID: "not-there"}},
		},
		Data: map[string][]byte{"value": []byte("#cloud-config\nruncmd:\n- kubeadm join\n"), "format": []byte("cloud-config")},
	}
}

// injectsBootstrapData also lets the manager read the bootstrap config.
func (r *rbac) injectsBootstrapData() {
	r.t.Helper()
	config := &bootstrapv1.KubeadmConfig{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "machine"}}
	r.Expect(r.env.Client.Create(r.t.Context(), config)).To(Succeed())
	secret := r.bootstrapData("c")
	r.Expect(r.env.Client.Create(r.t.Context(), secret)).To(Succeed())
	r.Expect(string(secret.Data["value"])).To(ContainSubstring("write_files"))
}

// servesASet lets a set make, change and remove a RegistryCache.
func (r *rbac) servesASet() {
	r.t.Helper()
	r.env.CreateCluster(r.t, r.namespace, "of-a-set", func(c *clusterv1.Cluster) { c.Labels = map[string]string{"tier": "set"} })
	set := &v1alpha1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "all"}}
	set.Spec.ClusterSelector = metav1.LabelSelector{MatchLabels: map[string]string{"tier": "set"}}
	set.Spec.Template.Spec.Caches = []v1alpha1.Cache{{Upstream: "docker.io"}}
	r.Expect(r.env.Client.Create(r.t.Context(), set)).To(Succeed())
	r.Eventually(r.upstreams).WithArguments("of-a-set").Should(ConsistOf("docker.io"))
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"template":{"spec":{"caches":[{"upstream":"quay.io"}]}}}}`))
	r.Expect(r.env.Client.Patch(r.t.Context(), set, patch)).To(Succeed())
	r.Eventually(r.upstreams).WithArguments("of-a-set").Should(ConsistOf("quay.io"))

	// Its user takes one into their own hands, and then gives it up.
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "of-a-set"}}
	r.Expect(r.env.Client.Patch(r.t.Context(), rc, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`)))).To(Succeed())
	r.Eventually(func() map[string]string {
		r.Expect(r.env.Client.Get(r.t.Context(), client.ObjectKeyFromObject(rc), rc)).To(Succeed())
		return rc.Labels
	}).ShouldNot(HaveKey(v1alpha1.SetLabel))
	first := rc.UID
	r.Expect(r.env.Client.Delete(r.t.Context(), rc)).To(Succeed())
	r.Eventually(func() (types.UID, error) {
		return rc.UID, r.env.Client.Get(r.t.Context(), client.ObjectKeyFromObject(rc), rc)
	}).ShouldNot(Equal(first))

	r.Expect(r.env.Client.Delete(r.t.Context(), set)).To(Succeed())
	r.Eventually(r.upstreams).WithArguments("of-a-set").Should(BeNil())
	r.Eventually(func() error { return r.env.Client.Get(r.t.Context(), client.ObjectKeyFromObject(set), set) }).
		Should(MatchError(ContainSubstring("not found")))
}

// servesAVariable does the same with the variable of a Cluster.
func (r *rbac) servesAVariable() {
	r.t.Helper()
	value := func(upstream string) []clusterv1.ClusterVariable {
		return []clusterv1.ClusterVariable{{Name: v1alpha1.ClusterVariable, Value: apiextensionsv1.JSON{Raw: []byte(`{"caches":[{"upstream":"` + upstream + `"}]}`)}}}
	}
	cluster := r.env.CreateCluster(r.t, r.namespace, "of-a-class", func(c *clusterv1.Cluster) {
		c.Spec.Topology = clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: envtest.KubernetesVersion, Variables: value("docker.io")}
	})
	r.Eventually(r.upstreams).WithArguments("of-a-class").Should(ConsistOf("docker.io"))
	for _, variables := range [][]clusterv1.ClusterVariable{value("quay.io"), nil} {
		before := cluster.DeepCopy()
		cluster.Spec.Topology.Variables = variables
		r.Expect(r.env.Client.Patch(r.t.Context(), cluster, client.MergeFrom(before))).To(Succeed())
		if variables != nil {
			r.Eventually(r.upstreams).WithArguments("of-a-class").Should(ConsistOf("quay.io"))
		}
	}
	r.Eventually(r.upstreams).WithArguments("of-a-class").Should(BeNil())
}

// upstreams are those of a RegistryCache; nil: there is none.
func (r *rbac) upstreams(name string) []string {
	rc := &v1alpha1.RegistryCache{}
	if r.env.Client.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: name}, rc) != nil {
		return nil
	}
	upstreams := []string{}
	for _, cache := range rc.Spec.Caches {
		upstreams = append(upstreams, cache.Upstream)
	}
	return upstreams
}

func (r *rbac) removesEverything() {
	r.t.Helper()
	r.Expect(r.env.Client.Delete(r.t.Context(), r.cache)).To(Succeed())
	r.Eventually(func() error { return r.env.Client.Get(r.t.Context(), client.ObjectKeyFromObject(r.cache), r.cache) }).
		Should(MatchError(ContainSubstring("not found")))
}

// scopedRule is a rule of a Role in a namespace, or, if that is empty, of a ClusterRole.
type scopedRule struct {
	rbacv1.PolicyRule
	namespace string
}

// permission is a verb, a group and a resource, in the namespace of the manager or everywhere.
type permission struct {
	verb, group, resource string
	own                   bool
}

type permissions map[permission]bool

// covers tells whether a permission, which may be one for all resources of a group, was made use of.
func (p permissions) covers(granted permission) bool {
	for used := range p {
		if granted.resource == "*" {
			used.resource = "*"
		}
		// A list is asked for by a watch, of API servers that know how; of others, and if that fails, by the verb.
		if used == granted || granted.verb == "list" && used == (permission{"watch", granted.group, granted.resource, granted.own}) {
			return true
		}
	}
	return false
}

// granted are all permissions of the roles.
func (r *rbac) granted() []permission {
	var all []permission
	for _, rule := range r.rules {
		r.Expect(rule.APIGroups).NotTo(ContainElement("*"))
		r.Expect(rule.Verbs).NotTo(ContainElement("*"))
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, permission{verb, group, resource, rule.namespace != ""})
				}
			}
		}
	}
	return all
}

// used are the permissions that the manager made use of. Leases are renewed, and Events written, a moment later than all else.
func (r *rbac) used() permissions {
	r.t.Helper()
	var used permissions
	r.Eventually(func(g Gomega) {
		requests, err := r.audit.Requests()
		g.Expect(err).NotTo(HaveOccurred())
		used = permissions{}
		for _, request := range requests {
			g.Expect(request.Refused).To(BeFalse(), "refused: %s", request.URI)
			if request.Resource != "" {
				used[permission{request.Verb, request.Group, request.Resource, request.Namespace == managerNamespace}] = true
			}
			r.expectLabelledSecrets(request)
		}
		g.Expect(used).To(And(
			HaveKey(permission{"update", "coordination.k8s.io", "leases", true}),
			HaveKey(permission{"patch", "events.k8s.io", "events", false}),
		))
	}).Should(Succeed())
	return used
}

// expectLabelledSecrets guards what docs/rbac.md says of Secrets: many are asked for by label alone, others one by one.
func (r *rbac) expectLabelledSecrets(request envtest.AuditedRequest) {
	if request.Resource != "secrets" {
		return
	}
	switch request.Verb {
	case "list", "watch":
		r.Expect(request.URI).To(Or(ContainSubstring("labelSelector=cluster.x-k8s.io%2Fcluster-name"),
			ContainSubstring("labelSelector=addons.cluster.x-k8s.io%2Fregistry-cache-reference")))
	default:
		// A create has no name here.
		r.Expect(request.Name).To(MatchRegexp("^(|hub|.*-registry-cache(-ca)?)$"), "%s of a Secret", request.Verb)
	}
}
