package reach

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func kubeconfigOf(t *testing.T, change func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo)) []byte {
	t.Helper()
	server, user := &clientcmdapi.Cluster{Server: "https://c.example:6443"}, &clientcmdapi.AuthInfo{Token: "a-token"}
	change(server, user)
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": server}, AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": user},
		Contexts: map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return content
}

func TestAKubeconfigOfASecretUsesNothingOfThisMachine(t *testing.T) {
	for name, change := range map[string]func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo){
		"a program": func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) {
			u.Exec = &clientcmdapi.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", Command: "sh", InteractiveMode: clientcmdapi.NeverExecInteractiveMode}
		},
		"a provider": func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) {
			u.AuthProvider = &clientcmdapi.AuthProviderConfig{Name: "oidc"}
		},
		"a file with a token":  func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) { u.TokenFile = "/etc/hostname" },
		"a certificate's file": func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) { u.ClientCertificate = "/etc/hostname" },
		"a key's file":         func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) { u.ClientKey = "/etc/hostname" },
		"an authority's file":  func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.CertificateAuthority = "/etc/hostname" },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := configOf(kubeconfigOf(t, change), true)
			NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("of this machine"), ContainSubstring("--workload-kubeconfig"), Not(ContainSubstring("a-token")))))
		})
	}
}

func TestAKubeconfigWithAllThatItNeedsIsTaken(t *testing.T) {
	g := NewWithT(t)
	config, err := configOf(kubeconfigOf(t, func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo) {}), true)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{config.Host, config.BearerToken}).To(Equal([]string{"https://c.example:6443", "a-token"}))
	program := kubeconfigOf(t, func(_ *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) {
		u.Exec = &clientcmdapi.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", Command: "aws", InteractiveMode: clientcmdapi.NeverExecInteractiveMode}
	})
	config, err = configOf(program, false)
	g.Expect(err).NotTo(HaveOccurred(), "the user's own file may have a program")
	g.Expect(config.ExecProvider).NotTo(BeNil())
}
