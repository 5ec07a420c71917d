package registrycache_test

import (
	"crypto/x509"
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const day = 24 * time.Hour

// authority is the Secret with the authority of the Cluster.
func (f *fixture) authority() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c-registry-cache-ca"}}
}

// certificate is the Secret with the certificate of a cache.
func (f *fixture) certificate(upstream string) *corev1.Secret {
	meta := f.meta(upstream)
	meta.Name = manifests.CertificateName(meta.Name)
	return &corev1.Secret{ObjectMeta: meta}
}

// leaf is the certificate of a cache, nil if it has none.
func (f *fixture) leaf(upstream string) *x509.Certificate {
	f.t.Helper()
	secret := f.certificate(upstream)
	if f.get(secret)() != nil {
		return nil
	}
	leaf, err := authority.ParsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil
	}
	return leaf
}

// signer is the authority that signs now.
func (f *fixture) signer() *authority.Authority {
	f.t.Helper()
	secret := f.authority()
	f.Expect(f.get(secret)()).To(Succeed())
	ca, err := authority.Load(secret.Data["tls.crt"], secret.Data["tls.key"])
	f.Expect(err).NotTo(HaveOccurred())
	return ca
}

// signed tells whether the authority signed the certificate that a cache has now.
func (f *fixture) signed(by *authority.Authority, upstream string) func() bool {
	return func() bool {
		leaf := f.leaf(upstream)
		return leaf != nil && authority.SignedBy(leaf, by.Certificate)
	}
}

// trusted is what nodes are told to trust.
func (f *fixture) trusted() string { return string(f.current().Status.CABundle) }

func bundle(of ...*authority.Authority) string {
	var trusted authority.Bundle
	for _, ca := range of {
		trusted = append(trusted, ca.Certificate)
	}
	return string(trusted.PEM())
}

// names are those that a certificate of a cache has to have.
func (f *fixture) names(upstream string) authority.Names {
	name := manifests.ServiceName(upstream)
	return authority.Names{
		DNS:     []string{name, name + "." + f.namespace, name + "." + f.namespace + ".svc", name + "." + f.namespace + ".svc.cluster.local"},
		Address: netip.MustParseAddr(f.clusterIP(upstream)),
	}
}

// put replaces the content of a Secret, as somebody else would.
func (f *fixture) put(secret *corev1.Secret, data map[string][]byte) {
	f.t.Helper()
	f.Eventually(func() error {
		if err := f.get(secret)(); err != nil {
			return err
		}
		maps.Copy(secret.Data, data)
		return env.Client.Update(f.t.Context(), secret)
	}).Should(Succeed())
}

// serving is a connected Cluster with the cache of docker.io.
func (f *fixture) serving(cidr string) {
	f.t.Helper()
	f.connected(cidr)
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
}

func (f *fixture) askForAnotherAuthority(value string) {
	f.t.Helper()
	f.update(func(rc *addonsv1.RegistryCache) {
		metav1.SetMetaDataAnnotation(&rc.ObjectMeta, addonsv1.RotateCAAnnotation, value)
	})
}

func TestCachesHaveCertificatesOfTheAuthorityOfTheirCluster(t *testing.T) {
	f := newFixture(t)
	f.provisioned("10.77.1.80/28")
	f.create("docker.io")
	f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.Eventually(f.trusted).Should(Equal(bundle(f.signer())), "the first Machine boots with it")
	secret := f.authority()
	f.Expect(f.get(secret)()).To(Succeed())
	f.Expect(string(secret.Data["ca.crt"])).To(Equal(f.trusted()))
	f.Expect(secret.Labels).To(And(HaveKeyWithValue(clusterv1.ClusterNameLabel, "c"), Not(HaveKey(addonsv1.NameLabel))))
	f.Expect(secret.OwnerReferences).To(ConsistOf(HaveField("UID", f.cache.UID)), "clusterctl moves it with the RegistryCache, and garbage collection removes it")

	clusters.set(f.cluster, true)
	f.ready("docker.io")
	f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionTrue, addonsv1.CertificatesValidReason)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	leaf := f.leaf("docker.io")
	trusted, err := authority.ParseBundle([]byte(f.trusted()))
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(trusted.Verify(leaf, f.names("docker.io"), time.Now())).To(Succeed())
	f.Expect(f.certificate("docker.io").Name).To(Equal("registry-docker-io.tls"))
	f.staysSilent()

	f.delete(f.certificate("docker.io"))
	f.Eventually(f.signed(f.signer(), "docker.io")).Should(BeTrue(), "a Secret that somebody removed comes back")
	f.Expect(f.leaf("docker.io").SerialNumber).NotTo(Equal(leaf.SerialNumber))
	f.put(f.certificate("docker.io"), map[string][]byte{"tls.key": []byte("spoilt")})
	f.Eventually(f.signed(f.signer(), "docker.io")).Should(BeTrue())
	f.Expect(f.trusted()).To(Equal(string(secret.Data["ca.crt"])))
	f.Eventually(f.events).Should(ContainElements("AuthorityCreated", "CertificateIssued"))
	f.staysSilent()
}

func TestACertificateIsReplacedWhenItIsDueOrUnfit(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.96/28")
	ca, names := f.signer(), f.names("docker.io")
	other, err := authority.New(time.Now())
	f.Expect(err).NotTo(HaveOccurred())
	elsewhere := names
	elsewhere.Address = netip.MustParseAddr("10.77.1.97")
	for name, tc := range map[string]struct {
		ca       *authority.Authority
		names    authority.Names
		age      time.Duration
		replaced bool
	}{
		"more than a third of its life is left":    {ca, names, 59 * day, false},
		"less than a third of its life is left":    {ca, names, 61 * day, true},
		"it has expired":                           {ca, names, 91 * day, true},
		"it is for another address":                {ca, elsewhere, 0, true},
		"it is of an authority that nobody trusts": {other, names, 0, true},
	} {
		certificate, key, err := tc.ca.Issue(tc.names, time.Now().Add(-tc.age))
		f.Expect(err).NotTo(HaveOccurred())
		f.put(f.certificate("docker.io"), map[string][]byte{"tls.crt": certificate, "tls.key": key})
		now := func() string {
			secret := f.certificate("docker.io")
			_ = f.get(secret)()
			return string(secret.Data["tls.crt"])
		}
		if !tc.replaced {
			f.Consistently(now).Should(Equal(string(certificate)), name)
			continue
		}
		f.Eventually(now).ShouldNot(Equal(string(certificate)), name)
		f.Expect(authority.Bundle{ca.Certificate}.Verify(f.leaf("docker.io"), names, time.Now())).To(Succeed(), name)
		f.Eventually(func() time.Time { return reconciler.Expiry(client.ObjectKeyFromObject(f.cache))["docker.io"] }).
			Should(BeTemporally("==", f.leaf("docker.io").NotAfter), "metrics tell of the new one")
	}
	f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionTrue, addonsv1.CertificatesValidReason)
}

func TestTheAuthorityOfSomeoneElseIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	foreign := f.authority()
	foreign.Labels = map[string]string{clusterv1.ClusterNameLabel: "c"}
	foreign.Data = map[string][]byte{"theirs": []byte("1")}
	f.Expect(env.Client.Create(t.Context(), foreign)).To(Succeed())
	f.connected("10.77.1.112/28")
	f.create("docker.io")
	message := f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionFalse, addonsv1.AuthorityRejectedReason).Message
	f.Expect(message).To(And(ContainSubstring("Secret c-registry-cache-ca"), ContainSubstring("remove or rename it")))
	f.Eventually(f.get(f.statefulSet("docker.io"))).Should(Succeed())
	f.Expect(f.get(f.certificate("docker.io"))()).To(notFound())
	f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionFalse, addonsv1.ApplyFailedReason)
	f.Expect(f.told()).To(inert(), "nodes are not told of a cache that they could not trust (I1)")
	f.Expect(f.get(foreign)()).To(Succeed())
	f.Expect(foreign.Data).To(Equal(map[string][]byte{"theirs": []byte("1")}))

	f.delete(foreign)
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(f.told()).NotTo(BeEmpty())
}

// TestASpoiltAuthorityKeepsEverythingAsItIs guards I5, and I7 as to what is told of it.
func TestASpoiltAuthorityKeepsEverythingAsItIs(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.128/28")
	trusted, leaf, told, endpoints := f.trusted(), f.leaf("docker.io"), f.told(), f.endpoints()
	good := f.authority()
	f.Expect(f.get(good)()).To(Succeed())
	f.put(f.authority(), map[string][]byte{"tls.key": []byte("hunter2")})
	message := f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionFalse, addonsv1.AuthorityRejectedReason).Message
	f.Expect(message).To(And(ContainSubstring("Secret c-registry-cache-ca"), ContainSubstring("restore or to delete"), Not(ContainSubstring("hunter2"))))
	f.Consistently(f.trusted).Should(Equal(trusted))
	f.Expect(f.leaf("docker.io")).To(Equal(leaf))
	f.Expect(f.told()).To(Equal(told))
	f.Expect(f.endpoints()).To(Equal(endpoints))
	f.Expect(f.get(f.statefulSet("docker.io"))()).To(Succeed())
	spoilt := f.authority()
	f.Expect(f.get(spoilt)()).To(Succeed())
	f.Expect(string(spoilt.Data["tls.key"])).To(Equal("hunter2"), "it may be all that is left of the key")

	f.put(f.authority(), good.Data)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(f.trusted()).To(Equal(trusted))
	f.Expect(f.leaf("docker.io")).To(Equal(leaf))
}

// TestAnAuthorityIsReplacedNodesFirst is the whole replacement, with nodes that take their time.
func TestAnAuthorityIsReplacedNodesFirst(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.144/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.Eventually(f.authorities).Should(HaveLen(1))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	old := f.signer()

	f.askForAnotherAuthority("1")
	f.Eventually(f.trusted).ShouldNot(Equal(bundle(old)))
	successor := f.signer()
	both := bundle(successor, old)
	f.Expect(f.trusted()).To(Equal(both))
	f.Eventually(f.authorities).Should(ConsistOf(both))
	f.Expect(f.payloadTrusts()).To(ConsistOf(both), "new Machines")
	f.run("n1", true, true)
	f.Consistently(f.signed(old, "docker.io")).Should(BeTrue(), "n2 does not trust the successor yet")

	f.run("n2", true, true)
	f.Eventually(f.signed(successor, "docker.io")).Should(BeTrue())
	changed := time.Now()
	f.Expect(f.trusted()).To(Equal(both), "the cache may still serve the certificate before")
	f.Eventually(f.trusted).Should(Equal(bundle(successor)))
	f.Expect(time.Since(changed)).To(BeNumerically(">", overlap-2*time.Second))
	f.Eventually(f.authorities).Should(ConsistOf(bundle(successor)))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Eventually(f.events).Should(ContainElements("AuthorityRotationStarted", "AuthorityRotated"))
	f.staysSilent()
	f.Expect(f.signer().Certificate).To(Equal(successor.Certificate), "each value asks once")
}

// authorities are what node-sync tells nodes to trust, one for each cache.
func (f nodeFixture) authorities() []string {
	var found []string
	for _, file := range f.told().Files {
		if isAuthority(file.Path) {
			found = append(found, withoutMarker(string(file.Content)))
		}
	}
	return found
}

// payloadTrusts is the same of the Secret that templates name.
func (f *fixture) payloadTrusts() []string {
	var found []string
	for path, content := range f.told() {
		if isAuthority(path) {
			found = append(found, withoutMarker(content))
		}
	}
	return found
}

func TestARotationGoesOnWithoutANodeThatDoesNotAnswer(t *testing.T) {
	f := newNodeFixture(t, "10.77.1.160/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.Eventually(f.authorities).Should(HaveLen(1))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	old := f.signer()
	f.askForAnotherAuthority("1")
	f.Eventually(f.authorities).ShouldNot(ConsistOf(bundle(old)))
	f.run("n1", true, true)
	f.Consistently(f.signed(old, "docker.io")).Should(BeTrue())
	f.Eventually(f.signed(f.signer(), "docker.io")).WithTimeout(2 * forgetTimeout).Should(BeTrue())
}

func TestWithNodesIgnoredAnAuthorityIsReplacedByTheCalendar(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.176/28")
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Nodes.Existing = addonsv1.ExistingNodesIgnore })
	f.eventually(addonsv1.NodesConfiguredCondition, metav1.ConditionTrue, addonsv1.ExistingNodesIgnoredReason)
	old := f.signer()
	successor := func(age time.Duration) *authority.Authority {
		ca, err := authority.New(time.Now().Add(-age))
		f.Expect(err).NotTo(HaveOccurred())
		certificate, key, err := ca.Encode()
		f.Expect(err).NotTo(HaveOccurred())
		f.put(f.authority(), map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": []byte(bundle(ca, old))})
		f.Eventually(f.trusted).Should(Equal(bundle(ca, old)))
		return ca
	}
	successor(29 * day)
	f.Consistently(f.signed(old, "docker.io")).Should(BeTrue())
	f.Eventually(f.signed(successor(31*day), "docker.io")).Should(BeTrue())
}

func TestAnAuthorityNearItsEndIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.192/28")
	old, err := authority.New(time.Now().Add(-authority.Life + authority.RenewBefore - day))
	f.Expect(err).NotTo(HaveOccurred())
	certificate, key, err := old.Encode()
	f.Expect(err).NotTo(HaveOccurred())
	f.put(f.authority(), map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": certificate})
	f.Eventually(func() string { return string(f.signer().Certificate.Raw) }).ShouldNot(Equal(string(old.Certificate.Raw)))
	f.Eventually(f.signed(f.signer(), "docker.io")).Should(BeTrue())
	f.Eventually(f.trusted).Should(Equal(bundle(f.signer())))
}

// TestADeletedAuthorityIsReplacedWithoutACut guards I5: nodes go on to trust what caches serve with.
func TestADeletedAuthorityIsReplacedWithoutACut(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.208/28")
	old := f.signer()
	clusters.set(f.cluster, false)
	f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.delete(f.authority())
	f.Eventually(f.get(f.authority())).Should(Succeed())
	f.Eventually(f.trusted).Should(Equal(bundle(f.signer(), old)))
	f.Expect(f.signed(old, "docker.io")()).To(BeTrue(), "a cluster that cannot be reached goes on as it is")
	clusters.set(f.cluster, true)
	f.Eventually(f.signed(f.signer(), "docker.io")).Should(BeTrue())
	f.Eventually(f.trusted).Should(Equal(bundle(f.signer())))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
}

// TestAStatusThatWasLostTrustsTheSameAuthority is what clusterctl move does: the Secret arrives, the status does not.
func TestAStatusThatWasLostTrustsTheSameAuthority(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.224/28")
	trusted, leaf := f.trusted(), f.leaf("docker.io")
	before := f.current()
	lost := before.DeepCopy()
	lost.Status = addonsv1.RegistryCacheStatus{}
	f.Expect(env.Client.Status().Patch(t.Context(), lost, client.MergeFrom(before))).To(Succeed())
	f.Eventually(f.trusted).Should(Equal(trusted))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(f.leaf("docker.io")).To(Equal(leaf))
	f.Expect(f.signer().Certificate.Raw).To(Equal(mustParse(f, trusted)[0].Raw))
}

func isAuthority(path string) bool { return strings.HasSuffix(path, "/ca.pem") }

func withoutMarker(content string) string { return strings.TrimPrefix(content, payload.Marker+"\n") }

func mustParse(f *fixture, pem string) authority.Bundle {
	parsed, err := authority.ParseBundle([]byte(pem))
	f.Expect(err).NotTo(HaveOccurred())
	return parsed
}

// TestTLSOffAndOnLeavesTheCacheAsItIs: only what nodes are told changes.
func TestTLSOffAndOnLeavesTheCacheAsItIs(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.1.240/28")
	set, secret, trusted := f.statefulSet("docker.io"), f.certificate("docker.io"), f.trusted()
	f.Expect(f.get(set)()).To(Succeed())
	f.Expect(f.get(secret)()).To(Succeed())
	address := f.clusterIP("docker.io")
	for _, mode := range []addonsv1.TLSMode{addonsv1.TLSDisabled, addonsv1.TLSEnabled} {
		f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].TLS.Mode = mode })
		scheme, authorities := "http", BeEmpty()
		if mode == addonsv1.TLSEnabled {
			scheme, authorities = "https", ConsistOf(trusted)
		}
		f.Eventually(f.endpoints).Should(ConsistOf((&url.URL{Scheme: scheme, Host: address + ":5000"}).String()))
		f.Eventually(f.payloadTrusts).Should(authorities)
		f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
		now, certificate := f.statefulSet("docker.io"), f.certificate("docker.io")
		f.Expect(f.get(now)()).To(Succeed())
		f.Expect(now.Generation).To(Equal(set.Generation))
		f.Expect(f.get(certificate)()).To(Succeed())
		f.Expect(certificate.ResourceVersion).To(Equal(secret.ResourceVersion))
	}
	f.Expect(f.trusted()).To(Equal(trusted))
	f.staysSilent()
}

// A stock registry reads its certificate once, so its Pod has to be replaced.
func TestAStockRegistryIsRestartedForItsCertificate(t *testing.T) {
	f := newFixture(t)
	f.serving("10.77.2.0/28")
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].Image = "registry:3" })
	hash := func() string {
		set := f.statefulSet("docker.io")
		_ = f.get(set)()
		return set.Spec.Template.Annotations[manifests.CertificateHashAnnotation]
	}
	f.Eventually(hash).ShouldNot(BeEmpty())
	first := hash()
	f.delete(f.certificate("docker.io"))
	f.Eventually(hash).ShouldNot(Or(BeEmpty(), Equal(first)))
	f.staysSilent()
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches[0].TLS.Mode = addonsv1.TLSDisabled })
	f.Eventually(f.get(f.certificate("docker.io"))).Should(notFound())
	f.Eventually(hash).Should(BeEmpty())
	f.eventually(addonsv1.CertificatesValidCondition, metav1.ConditionTrue, addonsv1.CertificatesValidReason)
}
