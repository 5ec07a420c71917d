package manifests

import (
	"encoding/json"
	"fmt"
	"path"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// AccessRevisionAnnotation is on the Pods of a cache whose image the spec names: the versions of the Secrets with credentials and
	// CA certificates that they were started with.
	AccessRevisionAnnotation = "addons.cluster.x-k8s.io/registry-cache-access-revision"

	credentialsSuffix = "-credentials"
	credentialsVolume = "credentials"
	credentialsDir    = "/etc/registry-cache/credentials"
	usernameKey       = "username"
	passwordKey       = "password"

	caBundleSuffix = "-upstream-ca"
	caBundleVolume = "upstream-ca"
	caBundleDir    = "/etc/registry-cache/upstream-ca"
	caBundleKey    = "ca.crt"

	// How a stock registry takes credentials from its environment; each value is read as YAML.
	usernameVariable = "REGISTRY_PROXY_USERNAME"
	passwordVariable = "REGISTRY_PROXY_PASSWORD"
)

// Access is what a cache asks its upstream with. The content may be missing where it is used: the copy that the workload cluster
// has stays then.
type Access struct {
	// Credentials says that the cache has some, Username and Password what they are.
	Credentials        bool
	Username, Password []byte
	// CABundle says that the cache trusts more certificates than its image does, Certificates which, in PEM.
	CABundle     bool
	Certificates []byte
	// Restarted says that the image may be one that reads all this only when it starts.
	Restarted bool
}

// accessConfig is the part of the configuration that only our image knows (docs/cache.md).
type accessConfig struct {
	CAFile       string `yaml:"cafile,omitempty"`
	UsernameFile string `yaml:"usernamefile,omitempty"`
	PasswordFile string `yaml:"passwordfile,omitempty"`
}

func access(v Values) accessConfig {
	config := accessConfig{}
	if v.Access.Credentials {
		config.UsernameFile, config.PasswordFile = path.Join(credentialsDir, usernameKey), path.Join(credentialsDir, passwordKey)
	}
	if v.Access.CABundle {
		config.CAFile = path.Join(caBundleDir, caBundleKey)
	}
	return config
}

// AccessSecrets are the names of the Secrets that a cache reads credentials and CA certificates from.
func AccessSecrets(v Values) []string {
	var names []string
	if v.Access.Credentials {
		names = append(names, v.Name+credentialsSuffix)
	}
	if v.Access.CABundle {
		names = append(names, v.Name+caBundleSuffix)
	}
	return names
}

// IsAccessSecret tells whether an object is one of AccessSecrets.
func IsAccessSecret(v Values, obj client.Object) bool {
	_, secret := obj.(*corev1.Secret)
	return secret && (obj.GetName() == v.Name+credentialsSuffix || obj.GetName() == v.Name+caBundleSuffix)
}

// accessSecrets are those of AccessSecrets whose content is known.
func accessSecrets(v Values) ([]client.Object, error) {
	var secrets []client.Object
	if v.Access.Credentials && len(v.Access.Username) > 0 {
		data := map[string][]byte{usernameKey: v.Access.Username, passwordKey: v.Access.Password}
		if v.Access.Restarted {
			if err := addVariables(data); err != nil {
				return nil, err
			}
		}
		secrets = append(secrets, accessSecret(v, credentialsSuffix, data))
	}
	if v.Access.CABundle && len(v.Access.Certificates) > 0 {
		secrets = append(secrets, accessSecret(v, caBundleSuffix, map[string][]byte{caBundleKey: v.Access.Certificates}))
	}
	return secrets, nil
}

// addVariables adds the values as YAML, of which JSON is a part: as they are, a password that begins with # would be none.
func addVariables(data map[string][]byte) error {
	for variable, key := range map[string]string{usernameVariable: usernameKey, passwordVariable: passwordKey} {
		quoted, err := json.Marshal(string(data[key]))
		if err != nil {
			return err
		}
		data[variable] = quoted
	}
	return nil
}

func accessSecret(v Values, suffix string, data map[string][]byte) *corev1.Secret {
	meta := objectMeta(v)
	meta.Name += suffix
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: meta,
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

// withAccess lets the Pods read the Secrets. They start without them as well: public images need none.
func withAccess(v Values, pod *corev1.PodSpec) {
	if v.Access.Credentials {
		mountAccess(pod, credentialsVolume, credentialsDir, v.Name+credentialsSuffix)
	}
	if v.Access.CABundle {
		mountAccess(pod, caBundleVolume, caBundleDir, v.Name+caBundleSuffix)
	}
	if v.Access.Restarted {
		pod.Containers[0].Env = append(pod.Containers[0].Env, accessVariables(v)...)
	}
}

func mountAccess(pod *corev1.PodSpec, volume, dir, secret string) {
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: new(int32(configMode)), Optional: new(true)},
	}})
	pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: dir, ReadOnly: true})
}

// accessVariables are for a stock registry. Our image reads files instead, and goes on to trust the public roots that are linked
// into it, which Go would not use beside a directory of certificates.
func accessVariables(v Values) []corev1.EnvVar {
	var variables []corev1.EnvVar
	if v.Access.Credentials {
		for _, name := range []string{usernameVariable, passwordVariable} {
			variables = append(variables, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: v.Name + credentialsSuffix}, Key: name, Optional: new(true),
			}}})
		}
	}
	if v.Access.CABundle {
		variables = append(variables,
			corev1.EnvVar{Name: "SSL_CERT_DIR", Value: "/etc/ssl/certs:" + caBundleDir},
			corev1.EnvVar{Name: "GODEBUG", Value: "x509usefallbackroots=1"},
		)
	}
	return variables
}

// SetAccessRevision makes Pods start again when the Secrets with these versions change.
func SetAccessRevision(set *appsv1.StatefulSet, revision string) {
	set.Spec.Template.Annotations[AccessRevisionAnnotation] = revision
}

// AccessChangedAnnotation is on a Pod whose Secrets have changed: kubelet brings it up to date at once when the Pod itself changes,
// and otherwise within a minute or so.
const AccessChangedAnnotation = "addons.cluster.x-k8s.io/registry-cache-access-changed"

// PodNames are those of the Pods of a cache.
func PodNames(cache addonsv1.Cache) []string {
	count := int32(1)
	if cache.Replicas != nil {
		count = *cache.Replicas
	}
	var names []string
	for ordinal := range count {
		names = append(names, fmt.Sprintf("%s-%d", ServiceName(cache.Upstream), ordinal))
	}
	return names
}
