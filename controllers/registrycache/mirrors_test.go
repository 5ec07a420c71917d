package registrycache_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// mirrorOf is a mirror of an upstream, with certificates from a Secret if that has a name.
func mirrorOf(upstream, host, secret string) addonsv1.Mirror {
	mirror := addonsv1.Mirror{Upstream: upstream, Hosts: []addonsv1.MirrorHost{{Host: host}}}
	if secret != "" {
		mirror.Hosts[0].CABundleSecretRef = &addonsv1.SecretReference{Name: secret}
	}
	return mirror
}

// createMirrors creates a RegistryCache with mirrors, and caches of upstreams.
func (f *fixture) createMirrors(mirrors []addonsv1.Mirror, upstreams ...string) {
	f.t.Helper()
	f.cache = &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "c"}}
	f.cache.Spec = addonsv1.RegistryCacheSpec{Namespace: f.namespace, Caches: caches(upstreams...), Mirrors: mirrors}
	f.createCache()
}

// filesOf are the files of a node that is told of these.
func (f *fixture) filesOf(v payload.Values) map[string]string {
	f.t.Helper()
	files, err := payload.Files(v)
	f.Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, file := range files {
		all[file.Path] = string(file.Content)
	}
	return all
}

// certificates are real ones, in PEM, others at each call.
func (f *fixture) certificates() []byte {
	f.t.Helper()
	certificates, _, err := cert.GenerateSelfSignedCertKey("private.example", nil, nil)
	f.Expect(err).NotTo(HaveOccurred())
	return certificates
}

// caSecret writes a Secret, with the label by which the manager sees it change.
func (f *fixture) caSecret(name string, data map[string][]byte) {
	f.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: "c"}}, Data: data}
	err := env.Client.Create(f.t.Context(), secret.DeepCopy())
	if err != nil {
		f.Expect(env.Client.Update(f.t.Context(), secret)).To(Succeed())
	}
}

// TestMirrorsNeedNoCache: no address, no object of a cache, but nodes are told, new ones and those that exist.
func TestMirrorsNeedNoCache(t *testing.T) {
	f := newNodeFixture(t, "10.77.3.0/28")
	f.createMirrors([]addonsv1.Mirror{mirrorOf("docker.io", "https://mirror.example", "")})
	f.eventually(addonsv1.AddressesAllocatedCondition, metav1.ConditionTrue, addonsv1.NoCachesReason)
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionTrue, addonsv1.NoCachesReason)
	f.eventually(addonsv1.MirrorsValidCondition, metav1.ConditionTrue, addonsv1.MirrorsValidReason)
	want := f.filesOf(payload.Values{Mirrors: []payload.Mirror{{Upstream: "docker.io", Hosts: []payload.MirrorHost{{URL: "https://mirror.example", Capabilities: []string{"pull"}}}}}})
	f.Eventually(f.fixture.told).Should(Equal(want), "by the Secret that templates name")
	f.Eventually(f.paths).Should(ContainElement("/etc/capi-registry-cache/upstreams/docker.io/hosts.toml"), "by node-sync")
	f.Expect(f.paths()).NotTo(ContainElement(HaveSuffix("/probe")))
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(f.current().Status.Caches).To(BeEmpty())
	for _, list := range []client.ObjectList{&corev1.ServiceList{}, &appsv1.StatefulSetList{}} {
		f.Expect(env.Client.List(t.Context(), list, client.InNamespace(f.namespace), client.MatchingLabels(manifests.Labels()))).To(Succeed())
		f.Expect(list).To(HaveField("Items", BeEmpty()))
	}
	f.staysSilent()

	f.delete(f.cache)
	f.Eventually(func() bool { return f.told().Remove }).Should(BeTrue())
	f.run("n1", true, true)
	f.run("n2", true, true)
	f.Eventually(f.get(f.cache)).Should(notFound())
	f.Expect(f.fixture.told()).To(inert())
}

func TestMirrorsComeBesideTheCacheOfTheirUpstream(t *testing.T) {
	f := newFixture(t)
	f.provisioned("10.77.3.16/28")
	f.createMirrors([]addonsv1.Mirror{mirrorOf("quay.io", "https://quay.example", ""), mirrorOf("docker.io", "http://[fd00::1]:5000/hub", "")}, "docker.io")
	f.update(func(rc *addonsv1.RegistryCache) {
		host := &rc.Spec.Mirrors[1].Hosts[0]
		host.Capabilities, host.OverridePath = []addonsv1.MirrorCapability{addonsv1.MirrorPull, addonsv1.MirrorResolve}, new(true)
	})
	f.Eventually(f.trusted).ShouldNot(BeEmpty())
	f.Eventually(f.told).Should(Equal(f.filesOf(payload.Values{
		Caches: []payload.Cache{{Upstream: "docker.io", Endpoint: "https://10.77.3.30:5000", CA: []byte(f.trusted())}},
		Mirrors: []payload.Mirror{
			{Upstream: "quay.io", Hosts: []payload.MirrorHost{{URL: "https://quay.example", Capabilities: []string{"pull"}}}},
			{Upstream: "docker.io", Hosts: []payload.MirrorHost{{URL: "http://[fd00::1]:5000/hub", Capabilities: []string{"pull", "resolve"}, OverridePath: true}}},
		},
	})))
}

// TestMirrorCertificatesAreTakenFromTheirSecret guards I5: what nodes had last stays until there is something better.
func TestMirrorCertificatesAreTakenFromTheirSecret(t *testing.T) {
	f := newFixture(t)
	f.provisioned("10.77.3.32/28")
	f.createMirrors([]addonsv1.Mirror{mirrorOf("docker.io", "https://private.example", "corp"), mirrorOf("quay.io", "https://public.example", "")}, "docker.io")
	one, two := f.certificates(), f.certificates()
	f.Eventually(f.trusted).ShouldNot(BeEmpty())
	values := payload.Values{
		Caches:  []payload.Cache{{Upstream: "docker.io", Endpoint: "https://10.77.3.46:5000", CA: []byte(f.trusted())}},
		Mirrors: []payload.Mirror{{Upstream: "quay.io", Hosts: []payload.MirrorHost{{URL: "https://public.example", Capabilities: []string{"pull"}}}}},
	}
	without := f.filesOf(values)
	told := func(ca []byte) map[string]string {
		v := values
		v.Mirrors = append(slices.Clone(v.Mirrors), payload.Mirror{Upstream: "docker.io", Hosts: []payload.MirrorHost{{URL: "https://private.example", Capabilities: []string{"pull"}, CA: ca}}})
		return f.filesOf(v)
	}
	unusable := func(parts ...string) {
		t.Helper()
		f.Eventually(func(g Gomega) {
			message := f.eventually(addonsv1.MirrorsValidCondition, metav1.ConditionFalse, addonsv1.CABundleNotUsableReason).Message
			for _, part := range append(parts, "mirror https://private.example of docker.io: Secret corp") {
				g.Expect(message).To(ContainSubstring(part))
			}
			g.Expect(message).NotTo(ContainSubstring("c2VjcmV0"), "I7")
		}).Should(Succeed())
	}

	unusable("not found", "namespace "+f.namespace+" with the key ca.crt", "nodes are not told of this mirror until then")
	f.Eventually(f.told).Should(Equal(without), "everything else goes on")
	f.caSecret("corp", map[string][]byte{"tls.crt": one})
	unusable("no key ca.crt", "certificates in PEM under this key are accepted")
	f.caSecret("corp", map[string][]byte{"ca.crt": []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")})
	unusable("key ca.crt: certificates in PEM, and nothing else, are accepted")

	f.caSecret("corp", map[string][]byte{"ca.crt": slices.Concat([]byte("subject=CN = corp\n"), one)})
	f.eventually(addonsv1.MirrorsValidCondition, metav1.ConditionTrue, addonsv1.MirrorsValidReason)
	f.Eventually(f.told).Should(Equal(told(one)))
	f.Eventually(func() []addonsv1.MirrorCABundle { return f.current().Status.MirrorCABundles }).Should(ConsistOf(addonsv1.MirrorCABundle{Upstream: "docker.io", Host: "https://private.example", CABundle: string(one)}))
	f.staysSilent()

	f.caSecret("corp", map[string][]byte{"ca.crt": bytes.Repeat(two, 200_000/len(two))})
	unusable("at most 32768 bytes are accepted", "user data", "nodes go on with the certificates that it had last")
	f.Expect(f.told()).To(Equal(told(one)))
	f.caSecret("corp", map[string][]byte{"ca.crt": slices.Concat(one, two)})
	f.eventually(addonsv1.MirrorsValidCondition, metav1.ConditionTrue, addonsv1.MirrorsValidReason)
	f.Eventually(f.told).Should(Equal(told(slices.Concat(one, two))), "rotated with overlap")
	f.delete(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "corp"}})
	unusable("not found", "nodes go on with the certificates that it had last")
	f.Expect(f.told()).To(Equal(told(slices.Concat(one, two))))

	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Mirrors[0].Hosts[0].CABundleSecretRef = nil })
	f.eventually(addonsv1.MirrorsValidCondition, metav1.ConditionTrue, addonsv1.MirrorsValidReason)
	f.Eventually(f.told).Should(Equal(told(nil)))
	f.Eventually(func() []addonsv1.MirrorCABundle { return f.current().Status.MirrorCABundles }).Should(BeEmpty())
	f.Expect(strings.Join(f.events(), " ")).NotTo(ContainSubstring("Failed"))
}
