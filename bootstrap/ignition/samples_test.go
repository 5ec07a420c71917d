package ignition

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/coreos/butane/config/common"
	fcos14 "github.com/coreos/butane/config/fcos/v1_4"
	flatcar11 "github.com/coreos/butane/config/flatcar/v1_1"
	"github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_3/types"
	. "github.com/onsi/gomega"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/cloudinit"
	cabpk "sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/ignition"
	"sigs.k8s.io/cluster-api/util/certs"
	"sigs.k8s.io/cluster-api/util/secret"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

var update = flag.Bool("update", false, "write the samples and the golden files")

const unitName = payload.UnitName

// two are the samples of spec 2.x, three those of 3.x: what bootstrap providers emit, and a hand-written one for each version.
var (
	twos = []string{
		"kubeadm-init.ign", "kubeadm-join-control-plane.ign", "kubeadm-join-worker.ign",
		"v2.0.ign", "v2.1.ign", "v2.2.ign", "v2.3.ign", "v2.4.ign",
	}
	threes = []string{
		"rke2.ign", "rke2-gzip.ign", "k0smotron.ign",
		"v3.0.ign", "v3.1.ign", "v3.2.ign", "v3.3.ign", "v3.4.ign", "v3.5.ign", "v3.6.ign",
	}
)

// someFiles are short, so that golden files stay readable.
func someFiles() []payload.File {
	return []payload.File{
		{Path: "/opt/bin/configure-containerd-registries.sh", Mode: 0o755, Content: []byte("#!/bin/sh\n" + payload.Marker + "\n: \"${x}\"\n")},
		{Path: unitDir + unitName, Mode: 0o644, Content: []byte(payload.Marker + "\n[Service]\nExecStart=/opt/bin/configure-containerd-registries.sh run\n[Install]\nWantedBy=multi-user.target\n")},
		{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("/etc/containerd/certs.d\n")},
	}
}

func realFiles(t testing.TB, upstreams ...string) []payload.File {
	t.Helper()
	v := payload.Values{}
	for _, upstream := range upstreams {
		v.Caches = append(v.Caches, payload.Cache{Upstream: upstream, Endpoint: "http://[fd00::fa]:5000"})
	}
	files, err := payload.Files(v)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return files
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}

// sample compares a sample with what makes it.
func sample(t *testing.T, name string, made []byte) {
	t.Helper()
	if *update {
		NewWithT(t).Expect(os.WriteFile(filepath.Join("testdata", name), made, 0o644)).To(Succeed())
	}
	NewWithT(t).Expect(string(made)).To(Equal(string(read(t, name))))
}

// kubeadmData is what a user may ask of the kubeadm provider.
func kubeadmData() cloudinit.BaseUserData {
	sudo, enabled := "ALL=(ALL) NOPASSWD:ALL", true
	return cloudinit.BaseUserData{
		PreKubeadmCommands: []string{"envsubst < /etc/kubeadm.yml > /etc/kubeadm.yml.tmp && mv /etc/kubeadm.yml.tmp /etc/kubeadm.yml"},
		AdditionalFiles: []bootstrapv1.File{
			{Path: "/etc/audit.yaml", Owner: "root:root", Permissions: "0600", Encoding: bootstrapv1.Base64, Content: "YXBpVmVyc2lvbjogYXVkaXQuazhzLmlvL3YxCg=="},
			{Path: "/etc/modules-load.d/k8s.conf", Permissions: "0644", Content: "overlay\nbr_netfilter\n"},
		},
		Users: []bootstrapv1.User{{Name: "core", Sudo: sudo, SSHAuthorizedKeys: []string{"ssh-ed25519 AAAA core"}}},
		NTP:   &bootstrapv1.NTP{Enabled: &enabled, Servers: []string{"ntp.example"}},
	}
}

const (
	kubeadmInit = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n"
	kubeadmJoin = "apiVersion: kubeadm.k8s.io/v1beta4\ndiscovery:\n  bootstrapToken:\n    token: abcdef.0123456789abcdef\nkind: JoinConfiguration\n"
)

func kubeadmCertificates() secret.Certificates {
	var list secret.Certificates
	for _, purpose := range []secret.Purpose{secret.ClusterCA, secret.ServiceAccount, secret.FrontProxyCA, secret.EtcdCA} {
		list = append(list, &secret.Certificate{
			Purpose: purpose, CertFile: "/etc/kubernetes/pki/" + string(purpose) + ".crt", KeyFile: "/etc/kubernetes/pki/" + string(purpose) + ".key",
			KeyPair: &certs.KeyPair{Cert: []byte("a certificate\n"), Key: []byte("a key\n")},
		})
	}
	return list
}

// kubeadmDropIn is what the documentation of Cluster API advises: it makes a second entry for kubeadm.service.
func kubeadmDropIn() *bootstrapv1.IgnitionSpec {
	return &bootstrapv1.IgnitionSpec{ContainerLinuxConfig: bootstrapv1.ContainerLinuxConfig{AdditionalConfig: `systemd:
  units:
  - name: kubeadm.service
    enabled: true
    dropins:
    - name: 10-flatcar.conf
      contents: |
        [Unit]
        Requires=containerd.service
        After=containerd.service
`}}
}

func TestSamples_of_kubeadm_are_made_by_its_renderer(t *testing.T) {
	for name, render := range map[string]func() ([]byte, string, error){
		"kubeadm-init.ign": func() ([]byte, string, error) {
			return cabpk.NewInitControlPlane(&cabpk.ControlPlaneInput{ControlPlaneInput: &cloudinit.ControlPlaneInput{
				BaseUserData: kubeadmData(), Certificates: kubeadmCertificates(),
				ClusterConfiguration: "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n", InitConfiguration: kubeadmInit,
			}})
		},
		"kubeadm-join-control-plane.ign": func() ([]byte, string, error) {
			return cabpk.NewJoinControlPlane(&cabpk.ControlPlaneJoinInput{ControlPlaneJoinInput: &cloudinit.ControlPlaneJoinInput{
				BaseUserData: kubeadmData(), Certificates: kubeadmCertificates(), JoinConfiguration: kubeadmJoin,
			}})
		},
		"kubeadm-join-worker.ign": func() ([]byte, string, error) {
			return cabpk.NewNode(&cabpk.NodeInput{NodeInput: &cloudinit.NodeInput{BaseUserData: kubeadmData(), JoinConfiguration: kubeadmJoin}, Ignition: kubeadmDropIn()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			made, _, err := render()
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			sample(t, name, made)
		})
	}
}

func TestSamples_of_RKE2_and_k0smotron_are_made_as_those_do(t *testing.T) {
	g := NewWithT(t)
	out, _, err := fcos14.ToIgn3_3Bytes(read(t, "rke2.bu"), common.TranslateBytesOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	config, _, err := v3_3.Parse(out)
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := json.Marshal(config)
	g.Expect(err).NotTo(HaveOccurred())
	sample(t, "rke2.ign", plain)
	sample(t, "rke2-gzip.ign", gzipped(t, plain))

	type source struct {
		Source string `json:"source"`
	}
	var merge []source
	for _, name := range []string{"k0smotron.bu", "k0smotron-additional.bu"} {
		out, _, err := flatcar11.ToIgn3_4Bytes(read(t, name), common.TranslateBytesOptions{
			TranslateOptions: common.TranslateOptions{NoResourceAutoCompression: true}, Pretty: true,
		})
		g.Expect(err).NotTo(HaveOccurred())
		merge = append(merge, source{"data:application/json;base64," + base64.StdEncoding.EncodeToString(out)})
	}
	made, err := json.Marshal(map[string]any{"ignition": map[string]any{"version": "3.4.0", "config": map[string]any{"merge": merge}}})
	g.Expect(err).NotTo(HaveOccurred())
	sample(t, "k0smotron.ign", made)
}

// gzipped is a config within a config, as RKE2 writes it with gzipUserData.
func gzipped(t testing.TB, config []byte) []byte {
	t.Helper()
	compression, source := "gzip", gzipURL(t, string(config))
	out, err := json.Marshal(types.Config{Ignition: types.Ignition{Version: "3.3.0", Config: types.IgnitionConfig{
		Replace: types.Resource{Compression: &compression, Source: &source},
	}}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
}

func gzipURL(t testing.TB, content string) string {
	t.Helper()
	compressed, err := payload.Gzip([]byte(content))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return "data:text/plain;base64," + base64.StdEncoding.EncodeToString(compressed)
}
