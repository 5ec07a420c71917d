package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	previewCluster = `apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: c1, namespace: ns}
spec:
  clusterNetwork: {services: {cidrBlocks: [10.128.0.0/16]}}
`
	previewCache = `---
apiVersion: addons.cluster.x-k8s.io/v1alpha1
kind: RegistryCache
metadata: {name: c1, namespace: ns}
spec:
  caches: [{upstream: docker.io}, {upstream: quay.io}]
`
	userData = "#cloud-config\nruncmd:\n- kubeadm join\n"
)

func TestInjectShowsWhatTheWebhookWouldDo(t *testing.T) {
	for name, test := range map[string]struct {
		manifests, data string
		args            []string
		code            int
		out, message    string
	}{
		"data that is understood": {
			manifests: previewCluster + previewCache, data: userData, code: exitInjected,
			out: "configure-containerd-registries.service", message: "cloud-config: injected, 37 bytes before",
		},
		"a list, as kubectl prints it": {
			manifests: "apiVersion: v1\nkind: List\nitems:\n- " + indent(previewCluster) + "- " + indent(strings.TrimPrefix(previewCache, "---\n")),
			data:      userData, code: exitInjected, message: "injected",
		},
		"data that is not understood": {
			manifests: previewCluster + previewCache, data: "\x00\x01", code: exitPassedThrough, out: "\x00\x01", message: "passed through unchanged",
		},
		"data that becomes too large": {
			manifests: previewCluster + previewCache, data: userData, args: []string{"--bootstrap-data-max-bytes=1000"},
			code: exitPassedThrough, out: userData, message: "bytes with them, at most 1000 are accepted",
		},
		"data that becomes large": {
			manifests: previewCluster + previewCache, data: userData, args: []string{"--bootstrap-data-warn-bytes=1000"},
			code: exitInjected, message: "(over 1000: some clouds take no more)",
		},
		"no cluster":              {manifests: previewCache, data: userData, code: exitBadUsage, message: "no Cluster"},
		"no cache":                {manifests: previewCluster, data: userData, code: exitBadUsage, message: "0 RegistryCaches"},
		"two caches":              {manifests: previewCluster + previewCache + previewCache, data: userData, code: exitBadUsage, message: "2 RegistryCaches"},
		"a field that is unknown": {manifests: previewCluster + strings.Replace(previewCache, "upstream: quay.io", "upstraem: quay.io", 1), code: exitBadUsage, message: "upstraem"},
		"no YAML":                 {manifests: "{", data: userData, code: exitBadUsage, message: "parsing"},
		"a bad Service CIDR":      {manifests: strings.Replace(previewCluster, "10.128.0.0/16", "10.128.0.0", 1) + previewCache, data: userData, code: exitBadUsage, message: "10.128.0.0"},
		"an unknown flag":         {args: []string{"--wrong"}, code: exitBadUsage, message: "--wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			path := filepath.Join(t.TempDir(), "manifests.yaml")
			g.Expect(os.WriteFile(path, []byte(test.manifests), 0o600)).To(Succeed())
			var out, messages bytes.Buffer
			code := inject(append([]string{"-f", path}, test.args...), strings.NewReader(test.data), &out, &messages)
			g.Expect(code).To(Equal(test.code), messages.String())
			g.Expect(out.String()).To(ContainSubstring(test.out))
			g.Expect(messages.String()).To(ContainSubstring(test.message))
		})
	}
}

func TestInjectWithoutManifestsIsBadUsage(t *testing.T) {
	g := NewWithT(t)
	var out, messages bytes.Buffer
	g.Expect(inject(nil, strings.NewReader(userData), &out, &messages)).To(Equal(exitBadUsage))
	g.Expect(messages.String()).To(ContainSubstring("filename"))
}

// indent makes an object an item of a YAML list.
func indent(object string) string {
	return strings.TrimRight(strings.ReplaceAll(object, "\n", "\n  "), " ")
}
