package registrycache_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/cluster-api/util/certs"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	hubPod    = "registry-docker-io-0"
	moveLabel = "clusterctl.cluster.x-k8s.io/move"
	// hidden is in every password of these tests, and in nothing else.
	hidden = "hunter2-hidden"
)

// secretOf is a Secret of a user.
func (f *fixture) secretOf(name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}, StringData: data}
}

func credentials(password string) map[string]string {
	return map[string]string{"username": "puller", "password": password}
}

func (f *fixture) createSecret(name string, data map[string]string) *corev1.Secret {
	f.t.Helper()
	secret := f.secretOf(name, data)
	f.Expect(env.Client.Create(f.t.Context(), secret)).To(Succeed())
	return secret
}

// write changes a Secret of a user.
func (f *fixture) write(name string, data map[string]string) {
	f.t.Helper()
	secret := f.secretOf(name, nil)
	f.Expect(f.get(secret)()).To(Succeed())
	secret.Data, secret.StringData = nil, data
	f.Expect(env.Client.Update(f.t.Context(), secret)).To(Succeed())
}

// copied is the content of a copy in the workload cluster; nil: there is none.
func (f *fixture) copied(name string) func() map[string]string {
	return func() map[string]string {
		secret := f.secretOf(name, nil)
		if f.get(secret)() != nil {
			return nil
		}
		data := map[string]string{}
		for key, value := range secret.Data {
			data[key] = string(value)
		}
		return data
	}
}

func (f *fixture) labels(name string) func() map[string]string {
	return func() map[string]string {
		secret := f.secretOf(name, nil)
		_ = f.get(secret)()
		return secret.Labels
	}
}

// createWith creates a RegistryCache for docker.io.
func (f *fixture) createWith(change func(*addonsv1.Cache)) {
	f.t.Helper()
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	f.cache.Spec = addonsv1.RegistryCacheSpec{Namespace: f.namespace, Caches: caches("docker.io")}
	change(&f.cache.Spec.Caches[0])
	f.createCache()
}

func withCredentials(c *addonsv1.Cache) {
	c.CredentialsSecretRef = &addonsv1.SecretReference{Name: "hub"}
}

func told(t *testing.T, access report.Access, volume report.VolumeState) toldReport {
	t.Helper()
	document, err := json.Marshal(report.Report{Access: access, Volume: report.Volume{State: volume}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return toldReport{document: document}
}

func TestCredentialsFollowTheirSecretWithoutARestart(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.0/28")
	f.createSecret("hub", credentials(hidden+"-1"))
	f.createWith(withCredentials)
	f.ready("docker.io")
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionTrue, addonsv1.CredentialsAcceptedReason)
	f.Expect(f.copied("registry-docker-io-credentials")()).To(Equal(credentials(hidden + "-1")))
	f.Expect(f.labels("hub")()).To(And(HaveKey(addonsv1.ReferencedLabel), HaveKey(moveLabel)))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	set := f.statefulSet("docker.io")
	f.Expect(f.get(set)()).To(Succeed())
	started := set.Generation
	pod := f.pod(hubPod)

	f.write("hub", credentials(hidden+"-2"))
	f.Eventually(f.copied("registry-docker-io-credentials")).Should(Equal(credentials(hidden + "-2")))
	f.Eventually(func() map[string]string { _ = f.get(pod)(); return pod.Annotations }).Should(HaveKey(manifests.AccessChangedAnnotation), "kubelet writes the files at once")
	f.Expect(f.get(set)()).To(Succeed())
	f.Expect(set.Generation).To(Equal(started), "no Pod starts again")
	f.staysSilent()

	f.wrong()
	f.refused()
	f.expectHidden()
}

// pod is one of a cache, as the StatefulSet controller makes it.
func (f *fixture) pod(name string) *corev1.Pod {
	f.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cache", Image: "x"}}},
	}
	f.Expect(env.Client.Create(f.t.Context(), pod)).To(Succeed())
	return pod
}

// wrong guards I5: the last good credentials stay in use while the Secret is wrong, or gone.
func (f *fixture) wrong() {
	f.t.Helper()
	f.write("hub", credentials(hidden+"-3\n"))
	message := f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.SecretInvalidReason).Message
	f.Expect(message).To(ContainSubstring("cache of docker.io: credentialsSecretRef: Secret hub: key password begins or ends with white space"))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionFalse, "NotReady")
	f.Consistently(f.copied("registry-docker-io-credentials")).Should(Equal(credentials(hidden + "-2")))
	f.staysSilent()

	f.delete(f.secretOf("hub", nil))
	message = f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.SecretNotFoundReason).Message
	f.Expect(message).To(ContainSubstring("there is no Secret hub in namespace " + f.namespace + "; accepted is one with the keys username and password"))
	f.Expect(f.copied("registry-docker-io-credentials")()).To(Equal(credentials(hidden + "-2")))
	f.Eventually(f.events).Should(ContainElements(addonsv1.SecretInvalidReason, addonsv1.SecretNotFoundReason))

	mended := f.secretOf("hub", credentials(hidden+"-4"))
	mended.Labels = map[string]string{addonsv1.ReferencedLabel: ""}
	f.Expect(env.Client.Create(f.t.Context(), mended)).To(Succeed())
	f.Eventually(f.copied("registry-docker-io-credentials")).Should(Equal(credentials(hidden+"-4")), "one with our label is seen when it comes")
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionTrue, addonsv1.CredentialsAcceptedReason)
}

// refused is what the cache tells of its upstream.
func (f *fixture) refused() {
	f.t.Helper()
	clusters.tell(f.cluster, hubPod, told(f.t, report.Access{State: report.AccessRejected, Message: "upstream: unauthorized: asking for a token: 401 Unauthorized"}, report.VolumeUsable))
	f.Expect(f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.UpstreamRejectedReason).Message).To(ContainSubstring("asking for a token: 401 Unauthorized"))
	clusters.tell(f.cluster, hubPod, toldReport{err: errors.New("no route to the Pod")})
	f.Expect(f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionUnknown, addonsv1.CredentialsNotCheckedReason).Message).To(ContainSubstring("cache of docker.io"))
	f.eventually(addonsv1.VolumesHealthyCondition, metav1.ConditionUnknown, addonsv1.VolumesNotReportedReason)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	clusters.tell(f.cluster, hubPod, toldReport{document: []byte("<html>")})
	f.Consistently(func() string {
		return f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionUnknown, addonsv1.CredentialsNotCheckedReason).Message
	}).ShouldNot(BeEmpty())
}

// expectHidden guards I7: only the Secret and its copy hold a password; no log, Event, condition or other object does, as it is or
// in base64.
func (f *fixture) expectHidden() {
	f.t.Helper()
	lists := []client.ObjectList{
		&addonsv1.RegistryCacheList{}, &eventsv1.EventList{}, &corev1.EventList{}, &corev1.ConfigMapList{}, &corev1.PodList{},
		&corev1.ServiceList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &appsv1.ControllerRevisionList{}, &corev1.SecretList{},
	}
	found := []string{}
	for _, list := range lists {
		f.Expect(env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace))).To(Succeed())
		f.Expect(meta.EachListItem(list, func(item runtime.Object) error {
			document, err := json.Marshal(item)
			object, _ := item.(client.Object)
			if holdsHidden(string(document)) {
				found = append(found, object.GetName())
			}
			return err
		})).To(Succeed())
	}
	f.Expect(found).To(ConsistOf("hub", "registry-docker-io-credentials"), "the Secrets that have to hold it, and nothing else")
	f.Expect(logged.String()).NotTo(BeEmpty())
	for line := range strings.Lines(logged.String()) {
		f.Expect(holdsHidden(line)).To(BeFalse(), line)
	}
}

// holdsHidden looks for a password as it is, and in base64 at each of the three places where it may begin.
func holdsHidden(text string) bool {
	if strings.Contains(text, hidden) {
		return true
	}
	for skip := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", skip) + hidden))
		if strings.Contains(text, encoded[4:len(encoded)-4]) {
			return true
		}
	}
	return false
}

func TestASecretThatIsMissingIsSeenWhenItComes(t *testing.T) {
	f := newFixture(t)
	f.SetDefaultEventuallyTimeout(time.Minute)
	f.connected("10.77.2.16/28")
	f.createWith(withCredentials)
	f.ready("docker.io")
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.SecretNotFoundReason)
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionTrue, addonsv1.CachesAvailableReason)
	f.Expect(f.copied("registry-docker-io-credentials")()).To(BeNil())
	f.createSecret("hub", credentials(hidden))
	f.Eventually(f.copied("registry-docker-io-credentials")).Should(Equal(credentials(hidden)), "without our label it takes up to 30 s")
}

func TestCopiesAndLabelsGoWithTheirReference(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.32/28")
	own := f.secretOf("own-labels", credentials(hidden))
	own.Labels = map[string]string{moveLabel: "theirs", addonsv1.ReferencedLabel: "theirs"}
	f.Expect(env.Client.Create(t.Context(), own)).To(Succeed())
	f.createSecret("hub", credentials(hidden))
	f.createSecret("other", credentials(hidden))
	f.createWith(withCredentials)
	shared := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "without-cluster"}}
	shared.Spec.Caches = f.cache.Spec.Caches
	f.Expect(env.Client.Create(t.Context(), shared)).To(Succeed())
	f.Eventually(f.labels("hub")).Should(HaveKey(moveLabel))

	name := func(secret string) {
		f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].CredentialsSecretRef.Name = secret })
	}
	name("own-labels")
	f.Consistently(f.labels("hub")).Should(HaveKey(moveLabel), "the other RegistryCache names it")
	name("other")
	f.Eventually(f.labels("other")).Should(HaveKey(moveLabel))
	f.Consistently(f.labels("own-labels")).Should(Equal(own.Labels), "what the user has put there stays")
	f.delete(shared)
	f.Eventually(f.get(shared)).Should(notFound())
	f.Eventually(f.labels("hub")).Should(BeEmpty())

	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].CredentialsSecretRef = nil })
	f.Eventually(f.copied("registry-docker-io-credentials")).Should(BeNil())
	f.Eventually(f.labels("other")).Should(BeEmpty())
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionTrue, addonsv1.CredentialsNotNeededReason)
	f.update(func(rc *addonsv1.RegistryCache) { withCredentials(&rc.Spec.Caches[0]) })
	f.Eventually(f.copied("registry-docker-io-credentials")).ShouldNot(BeNil())
	f.staysSilent()
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.copied("registry-docker-io-credentials")()).To(BeNil())
	f.Expect(f.labels("hub")()).To(BeEmpty())
	f.Expect(f.get(f.secretOf("hub", nil))()).To(Succeed(), "it is the user's")
}

func TestACopyOfSomebodyElseIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.48/28")
	f.createSecret("registry-docker-io-credentials", map[string]string{"theirs": "1"})
	f.createSecret("hub", credentials(hidden))
	f.createWith(withCredentials)
	message := f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionFalse, addonsv1.ApplyFailedReason).Message
	f.Expect(message).To(ContainSubstring("Secret registry-docker-io-credentials: an object of this name exists"))
	f.Consistently(f.copied("registry-docker-io-credentials")).Should(Equal(map[string]string{"theirs": "1"}))
	f.delete(f.cache)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.copied("registry-docker-io-credentials")()).To(Equal(map[string]string{"theirs": "1"}))
}

func TestACABundleIsCopied(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.64/28")
	f.createSecret("ca", map[string]string{"ca.crt": "no certificate"})
	f.createWith(func(c *addonsv1.Cache) { c.CABundleSecretRef = &addonsv1.SecretReference{Name: "ca"} })
	f.ready("docker.io")
	message := f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.SecretInvalidReason).Message
	f.Expect(message).To(ContainSubstring("cache of docker.io: caBundleSecretRef: Secret ca: key ca.crt holds no certificate"))
	bundle := string(certs.EncodeCertPEM(f.selfSigned()))
	f.write("ca", map[string]string{"ca.crt": "# ours\n" + bundle})
	f.Eventually(f.copied("registry-docker-io-upstream-ca")).Should(Equal(map[string]string{"ca.crt": bundle}))
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionTrue, addonsv1.CredentialsAcceptedReason)
	set := f.statefulSet("docker.io")
	f.Expect(f.get(set)()).To(Succeed())
	f.Expect(set.Spec.Template.Spec.Volumes).To(ContainElement(HaveField("VolumeSource.Secret.SecretName", "registry-docker-io-upstream-ca")))
	f.staysSilent()
}

func (f *fixture) selfSigned() *x509.Certificate {
	f.t.Helper()
	key, err := certs.NewPrivateKey()
	f.Expect(err).NotTo(HaveOccurred())
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "upstream"}, key)
	f.Expect(err).NotTo(HaveOccurred())
	return certificate
}

// TestAnImageOfTheUserStartsAgainWithNewCredentials is for stock registries, which read them only then.
func TestAnImageOfTheUserStartsAgainWithNewCredentials(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.2.80/28")
	f.createSecret("hub", credentials("#"+hidden))
	f.createWith(func(c *addonsv1.Cache) {
		withCredentials(c)
		c.Image = "registry:3"
	})
	f.ready("docker.io")
	clusters.tell(f.cluster, hubPod, toldReport{err: apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, hubPod)})
	f.Eventually(func() string {
		return f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionTrue, addonsv1.CredentialsAcceptedReason).Message
	}).Should(ContainSubstring("cache of docker.io does not report"))
	f.Expect(f.copied("registry-docker-io-credentials")()).To(HaveKeyWithValue("REGISTRY_PROXY_PASSWORD", `"#`+hidden+`"`))
	revision := func() string {
		set := f.statefulSet("docker.io")
		f.Expect(f.get(set)()).To(Succeed())
		return set.Spec.Template.Annotations[manifests.AccessRevisionAnnotation]
	}
	before := revision()
	f.Expect(before).To(HavePrefix("registry-docker-io-credentials="))
	f.staysSilent()
	f.write("hub", credentials(hidden+"-2"))
	f.Eventually(revision).ShouldNot(Equal(before))
	f.staysSilent()
	f.write("hub", credentials(hidden+" "))
	f.eventually(addonsv1.CredentialsValidCondition, metav1.ConditionFalse, addonsv1.SecretInvalidReason)
	settled := revision()
	f.Consistently(revision).Should(Equal(settled), "wrong ones start nothing again")
	f.expectHidden()
}
