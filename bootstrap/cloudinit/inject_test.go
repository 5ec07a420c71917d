package cloudinit

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

var update = flag.Bool("update", false, "write the golden files")

const unit = payload.UnitName

// plain are the samples that stay plain cloud-config documents: what bootstrap providers emit, and a user's one. Those of RKE2,
// k3s and k0smotron are rendered with the templates of rancher/cluster-api-provider-rke2 (c8a3286), k3s-io/cluster-api-k3s
// (7ed944f) and k0sproject/k0smotron (3897bbe).
var plain = []string{
	"init.yaml", "join-control-plane.yaml", "join-worker.yaml", // kubeadm
	"rke2-server.yaml", "k3s-agent.yaml", "k0smotron-worker.yaml", "jinja-quoted.yaml",
}

// others are the samples that become MIME messages, or are ones.
var others = []string{
	"k0smotron-vars.txt", "jinja-unquoted.txt", "jinja-conditional.txt",
	"script.txt", "script-no-end.txt", "script-jinja.txt", "boothook.txt", "archive.txt", "part-handler.txt",
	"mime-nested.txt", "mime-eks.txt", "mime-single.txt",
}

// someFiles are short, so that golden files stay readable.
func someFiles() []payload.File {
	return []payload.File{
		{Path: "/opt/bin/configure-containerd-registries.sh", Mode: 0o755, Content: []byte("#!/bin/sh\n: \"${#x} {{ y }}\"\n")},
		{Path: "/etc/systemd/system/" + unit, Mode: 0o644, Content: []byte("[Unit]\n")},
		{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("/etc/containerd/certs.d\n")},
	}
}

func realFiles(t testing.TB) []payload.File {
	t.Helper()
	files, err := payload.Files(payload.Values{Caches: []payload.Cache{
		{Upstream: "docker.io", Endpoint: "http://10.128.0.250:5000"},
		{Upstream: "registry.example:5443", Endpoint: "http://[fd00::fa]:5000"},
	}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return files
}

func someBundle(t testing.TB) *bundle {
	t.Helper()
	b, err := newBundle(someFiles(), unit)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return b
}

// redacted is data with words for our archive, whose bytes are those of a compressor.
func redacted(b *bundle, data []byte) string {
	return strings.NewReplacer(
		base64.StdEncoding.EncodeToString(b.archive), "<archive>",
		payload.Base64Lines(b.archive, payload.ShellLine), "<archive>\n",
	).Replace(string(data))
}

func TestInject_samples(t *testing.T) {
	for _, name := range append(plain, others...) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name)
			out, err := Inject(in, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			ext := filepath.Ext(name)
			golden := strings.TrimSuffix(name, ext) + ".golden" + ext
			if *update {
				g.Expect(os.WriteFile(filepath.Join("testdata", golden), []byte(redacted(someBundle(t), out)), 0o644)).To(Succeed())
			}
			g.Expect(redacted(someBundle(t), out)).To(Equal(string(read(t, golden))))
			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(string(out)), "I4")
		})
	}
}

func TestInject_keeps_every_foreign_byte_of_a_document(t *testing.T) {
	for _, name := range plain {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := Inject(read(t, name), someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(FormOf(out)).To(Equal(CloudConfig), "a plain document stays one")
			g.Expect(foreignBytes(out)).To(Equal(string(read(t, name))))
		})
	}
}

// foreignBytes takes our lines out again, by their text.
func foreignBytes(out []byte) string {
	var kept []string
	skip := 0
	for _, l := range strings.SplitAfter(string(out), "\n") {
		if strings.HasSuffix(l, "- path: "+payload.ArchivePath+"\n") {
			skip = 5
		}
		if skip > 0 {
			skip--
			continue
		}
		if strings.Contains(l, payload.InstallCommand(unit)) {
			continue
		}
		kept = append(kept, l)
	}
	return strings.Join(kept, "")
}

func TestInject_adds_what_is_missing_and_replaces_what_is_old(t *testing.T) {
	const h = "#cloud-config\n"
	const files = "- path: /etc/capi-registry-cache/install.gz\n  owner: root:root\n  permissions: \"0644\"\n  encoding: base64\n  content: <archive>\n"
	const old = "- path: /etc/capi-registry-cache/certs-dir\n  owner: root:root\n  permissions: \"0644\"\n  encoding: base64\n  content: eAo=\n"
	const oldCommand = "- systemctl enable --now " + unit + " || true\n"
	const command = "- gzip -dc /etc/capi-registry-cache/install.gz | /bin/sh && systemctl enable --now " + unit + " || true\n"
	const all = h + "write_files:\n" + files + "runcmd:\n" + command
	for name, tc := range map[string]struct{ in, out string }{
		"nothing but the header":         {h, all},
		"no line break at the end":       {"#cloud-config", all},
		"header in other words":          {"\n #Cloud-Config for me\n", "\n #Cloud-Config for me\nwrite_files:\n" + files + "runcmd:\n" + command},
		"no runcmd":                      {h + "write_files:\n- path: /a\n  content: |\n    x\n", h + "write_files:\n" + files + "- path: /a\n  content: |\n    x\nruncmd:\n" + command},
		"no write_files: before runcmd":  {h + "runcmd:\n  - a\n", h + "write_files:\n" + files + "runcmd:\n  " + command + "  - a\n"},
		"neither":                        {h + "# why\nhostname: a\n", h + "# why\nwrite_files:\n" + files + "hostname: a\nruncmd:\n" + command},
		"empty values":                   {h + "write_files:\nruncmd: # later\n", h + "write_files:\n" + files + "runcmd: # later\n" + command},
		"braces without Jinja stay":      {h + "hostname: {{ ds.name }}\nruncmd:\n- a\n", h + "write_files:\n" + files + "hostname: {{ ds.name }}\nruncmd:\n" + command + "- a\n"},
		"a block scalar that keeps ends": {h + "write_files:\n- path: /a\n  content: |+\n    x\n\n\nruncmd:\n- a\n", h + "write_files:\n" + files + "- path: /a\n  content: |+\n    x\n\n\nruncmd:\n" + command + "- a\n"},
		"Windows line breaks":            {"#cloud-config\r\nruncmd:\r\n- a\r\n", "#cloud-config\r\nwrite_files:\n" + files + "runcmd:\r\n" + command + "- a\r\n"},
		"a file of ours in another form": {h + "write_files:\n- path: /b\n- path: /opt/bin/configure-containerd-registries.sh\n  content: |\n    #!/bin/sh\n    # old\n\n    exit\n# end\nruncmd:\n- a\n", h + "write_files:\n" + files + "- path: /b\n# end\nruncmd:\n" + command + "- a\n"},
		"single files, moved down":       {h + "write_files:\n- path: /b\n" + old + "runcmd:\n- a\n" + oldCommand, h + "write_files:\n" + files + "- path: /b\nruncmd:\n" + command + "- a\n"},
		"an old archive and command":     {h + "write_files:\n" + strings.Replace(files, "<archive>", "eAo=", 1) + old + "runcmd:\n- a\n" + command, h + "write_files:\n" + files + "runcmd:\n" + command + "- a\n"},
		"a dash on its own line":         {h + "write_files:\n-\n  path: /etc/capi-registry-cache/certs-dir\n-\n  path: /b\nruncmd:\n-\n a\n", h + "write_files:\n" + files + "-\n  path: /b\nruncmd:\n" + command + "-\n a\n"},
		"runcmd stands first":            {h + "runcmd:\n- a\nwrite_files:\n- path: /b\n", h + "runcmd:\n" + command + "- a\nwrite_files:\n" + files + "- path: /b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := Inject([]byte(tc.in), someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(redacted(someBundle(t), out)).To(Equal(tc.out))
			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(string(out)), "I4")
		})
	}
}

func TestInject_takes_large_data(t *testing.T) {
	g := NewWithT(t)
	in := likeKubeadm(2 << 20)
	out, err := Inject(in, someFiles(), unit)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(foreignBytes(out)).To(Equal(string(in)))
}

// likeKubeadm is a document of at least n bytes like kubeadm's.
func likeKubeadm(n int) []byte {
	out := bytes.NewBufferString("## template: jinja\n#cloud-config\n\nwrite_files:\n")
	for out.Len() < n {
		out.WriteString("-   path: /etc/kubernetes/pki/ca.crt\n    owner: root:root\n    permissions: '0640'\n    content: |\n" +
			strings.Repeat("      MIIC6jCCAdKgAwIBAgIBADANBgkqhkiG9w0BAQsFADAVMRMwEQYDVQQDEwprdWJl\n", 20) +
			"      name: '{{ ds.meta_data.local_hostname }}'\n      \n")
	}
	out.WriteString("runcmd:\n  - \"kubeadm join --config /run/kubeadm/kubeadm-join-config.yaml\"\n")
	return out.Bytes()
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}
