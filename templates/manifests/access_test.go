package manifests_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

// TestAPodFindsTheFilesThatTheConfigurationNames reads the configuration as the cache does.
func TestAPodFindsTheFilesThatTheConfigurationNames(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", t.TempDir())
	built := objects(t, with(withAccess))
	path := filepath.Join(t.TempDir(), "config.yml")
	g.Expect(os.WriteFile(path, configFile(t, built), 0o600)).To(Succeed())
	config, err := cache.Load(path)
	g.Expect(err).NotTo(HaveOccurred())

	files := map[string]bool{}
	pod := built[len(built)-1].(*appsv1.StatefulSet).Spec.Template.Spec
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			for _, object := range built {
				if secret, ok := object.(*corev1.Secret); ok && secret.Name == volume.Secret.SecretName {
					for key := range secret.Data {
						files[filepath.Join(mount.MountPath, key)] = true
					}
				}
			}
		}
	}
	for _, file := range []string{config.Pullthrough.Upstream.UsernameFile, config.Pullthrough.Upstream.PasswordFile, config.Pullthrough.Upstream.CAFile} {
		g.Expect(files).To(HaveKey(file))
	}
}

// TestAStockRegistryReadsCredentialsFromItsEnvironment parses as distribution does, which takes each variable for YAML.
func TestAStockRegistryReadsCredentialsFromItsEnvironment(t *testing.T) {
	for _, password := range []string{"plain", "#comment", "@at", "a: b", "null", "123", `"'\%$ü€<&>`, "{x", "*y", "- z", "\u2028"} {
		t.Run(password, func(t *testing.T) {
			g := NewWithT(t)
			values := with(withRestarted)
			values.Access.Password = []byte(password)
			built := objects(t, values)
			secrets := map[string]map[string][]byte{}
			for _, object := range built {
				if secret, ok := object.(*corev1.Secret); ok {
					secrets[secret.Name] = secret.Data
				}
			}
			for _, variable := range built[len(built)-1].(*appsv1.StatefulSet).Spec.Template.Spec.Containers[0].Env {
				if from := variable.ValueFrom; from != nil {
					t.Setenv(variable.Name, string(secrets[from.SecretKeyRef.Name][from.SecretKeyRef.Key]))
				}
			}
			proxy := parsedConfig(t, values).Proxy
			g.Expect([]string{proxy.Username, proxy.Password}).To(Equal([]string{"org+robot", password}))
		})
	}
}

func TestSecretsWithoutKnownContentAreLeftAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	values := with(withAccess)
	values.Access.Username, values.Access.Password, values.Access.Certificates = nil, nil, nil
	g.Expect(objects(t, values)).To(HaveLen(len(objects(t, dockerHub()))))
	g.Expect(manifests.AccessSecrets(values)).To(Equal([]string{"registry-docker-io-credentials", "registry-docker-io-upstream-ca"}))
	g.Expect(manifests.AccessSecrets(dockerHub())).To(BeEmpty())
}

func TestPodsAreNamedAsTheStatefulSetControllerDoes(t *testing.T) {
	g := NewWithT(t)
	g.Expect(manifests.PodNames(addonsv1.Cache{Upstream: "docker.io"})).To(Equal([]string{"registry-docker-io-0"}))
	g.Expect(manifests.PodNames(addonsv1.Cache{Upstream: "docker.io", Replicas: new(int32(2))})).To(Equal([]string{"registry-docker-io-0", "registry-docker-io-1"}))
}
