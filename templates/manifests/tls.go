package manifests

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// CertificateHashAnnotation is on the Pods of a stock registry, which reads its certificate once: the hash of it.
	CertificateHashAnnotation = "addons.cluster.x-k8s.io/registry-cache-certificate-hash"

	certificateVolume = "tls"
	certificateDir    = "/etc/registry-cache-tls"
	// certificateMode lets the group of the store read, and nobody else.
	certificateMode = 0o440
)

// tlsConfig is distribution's section http.tls.
type tlsConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Certified tells whether a cache needs a certificate. Ours has one whatever nodes are told: it serves TLS and plain HTTP side by side,
// so that a change of spec.caches[].tls.mode is one of nodes only, and no request finds the cache restarting.
func (v Values) Certified() bool { return v.TLS || !v.Stock }

// CertificateName returns the name of the Secret with the certificate of a cache. A ServiceName has no dot, so it is never that of
// another object.
func CertificateName(serviceName string) string { return serviceName + ".tls" }

// CertificateSecret returns the Secret with the certificate of a cache and its key, both in PEM, with TypeMeta set.
func CertificateSecret(v Values, certificate, key []byte) *corev1.Secret {
	meta := objectMeta(v)
	meta.Name = CertificateName(v.Name)
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: meta,
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}
}

// tlsSection is nil for a stock registry that serves plain HTTP.
func tlsSection(v Values) *tlsConfig {
	if !v.Certified() {
		return nil
	}
	return &tlsConfig{Certificate: certificateDir + "/" + corev1.TLSCertKey, Key: certificateDir + "/" + corev1.TLSPrivateKeyKey}
}

// withCertificate mounts the certificate.
func withCertificate(v Values, pod corev1.PodSpec) corev1.PodSpec {
	if !v.Certified() {
		return pod
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: certificateVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: CertificateName(v.Name), DefaultMode: new(int32(certificateMode))},
	}})
	mounts := &pod.Containers[0].VolumeMounts
	*mounts = append(*mounts, corev1.VolumeMount{Name: certificateVolume, MountPath: certificateDir, ReadOnly: true})
	return pod
}

// ready asks as nodes do, by TLS if the cache has a certificate, which kubelet does not check.
func ready(v Values) corev1.ProbeHandler {
	get := &corev1.HTTPGetAction{Path: "/v2/", Port: intstr.FromString(registryPortName)}
	if v.Certified() {
		get.Scheme = corev1.URISchemeHTTPS
	}
	return corev1.ProbeHandler{HTTPGet: get}
}
