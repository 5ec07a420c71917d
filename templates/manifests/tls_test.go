package manifests_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

func TestTheSecretOfACertificateIsAsTheGoldenFileHasIt(t *testing.T) {
	g := NewWithT(t)
	secret := render(t, []client.Object{manifests.CertificateSecret(dockerHub(), []byte("a certificate"), []byte("a key"))})
	g.Expect(string(secret)).To(Equal(golden(t, "certificate.yaml", secret)))
}

func TestTheModeOfTLSChangesNothingAboutACacheOfOurs(t *testing.T) {
	g := NewWithT(t)
	off := with(func(v *manifests.Values) { v.TLS = false })
	g.Expect(objects(t, off)).To(Equal(objects(t, dockerHub())), "nodes change over while the cache goes on")
	g.Expect(off.Certified()).To(BeTrue())
}

func TestAStockRegistryServesOneProtocol(t *testing.T) {
	for name, tc := range map[string]struct {
		tls         bool
		certificate string
		scheme      corev1.URIScheme
	}{"TLS": {true, "/etc/registry-cache-tls/tls.crt", corev1.URISchemeHTTPS}, "plain HTTP": {false, "", ""}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			v := with(func(v *manifests.Values) { v.Stock, v.TLS = true, tc.tls })
			built := objects(t, v)
			config := parsedConfig(t, v)
			pod := built[len(built)-1].(*appsv1.StatefulSet).Spec.Template.Spec
			g.Expect(v.Certified()).To(Equal(tc.tls))
			g.Expect(config.HTTP.TLS.Certificate).To(Equal(tc.certificate))
			g.Expect(pod.Containers[0].ReadinessProbe.HTTPGet.Scheme).To(Equal(tc.scheme))
		})
	}
}

// TestTheConfigurationNamesTheFilesThatAreMounted holds config, mount and Secret together.
func TestTheConfigurationNamesTheFilesThatAreMounted(t *testing.T) {
	g := NewWithT(t)
	built := objects(t, dockerHub())
	section := parsedConfig(t, dockerHub()).HTTP.TLS
	pod := built[len(built)-1].(*appsv1.StatefulSet).Spec.Template.Spec
	secret := manifests.CertificateSecret(dockerHub(), nil, nil)
	for _, volume := range pod.Volumes {
		if volume.Secret == nil || volume.Secret.SecretName != secret.Name {
			continue
		}
		for _, mount := range pod.Containers[0].VolumeMounts {
			if mount.Name == volume.Name {
				g.Expect(secret.Data).To(And(HaveKey(strings.TrimPrefix(section.Certificate, mount.MountPath+"/")), HaveKey(strings.TrimPrefix(section.Key, mount.MountPath+"/"))))
				return
			}
		}
	}
	t.Fatal("the Secret is not mounted")
}

func TestTheNameOfACertificateIsThatOfNoOtherObject(t *testing.T) {
	g := NewWithT(t)
	for _, upstream := range []string{"docker.io", "docker.io.tls", "a-b.io:5000", strings.Repeat("a.", 100) + "io"} {
		name := manifests.CertificateName(manifests.ServiceName(upstream))
		g.Expect(validation.IsDNS1123Subdomain(name)).To(BeEmpty())
		g.Expect(name).To(ContainSubstring("."))
		g.Expect(manifests.ServiceName(upstream)).NotTo(ContainSubstring("."))
	}
}
