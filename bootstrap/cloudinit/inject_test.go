package cloudinit

import (
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

// someFiles are short, so that golden files stay readable.
func someFiles() []payload.File {
	return []payload.File{
		{Path: "/opt/bin/configure-containerd-registries.sh", Mode: 0o755, Content: []byte("#!/bin/sh\n: \"${#x} {{ y }}\"\n")},
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

func TestInject_kubeadm_bootstrap_data(t *testing.T) {
	for _, name := range []string{"init", "join-control-plane", "join-worker"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name+".yaml")
			out, err := Inject(in, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				g.Expect(os.WriteFile(golden, out, 0o644)).To(Succeed())
			}
			g.Expect(string(out)).To(Equal(string(read(t, name+".golden.yaml"))))
			g.Expect(foreignBytes(out)).To(Equal(string(in)), "no foreign byte changes")
			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(string(out)), "I4")
		})
	}
}

// foreignBytes takes our lines out again, by their text.
func foreignBytes(out []byte) string {
	var kept []string
	skip := 0
	for _, l := range strings.SplitAfter(string(out), "\n") {
		if path, ok := strings.CutPrefix(l, "- path: "); ok && payload.Owned(strings.TrimSpace(path)) {
			skip = 5
		}
		if skip > 0 {
			skip--
			continue
		}
		if strings.Contains(l, Command(unit)) {
			continue
		}
		kept = append(kept, l)
	}
	return strings.Join(kept, "")
}

func TestInject_adds_what_is_missing_and_replaces_what_is_old(t *testing.T) {
	const h = "#cloud-config\n"
	const files = "- path: /etc/capi-registry-cache/certs-dir\n  owner: root:root\n  permissions: \"0644\"\n  encoding: base64\n  content: eAo=\n"
	const command = "- systemctl enable --now " + unit + " || true\n"
	const all = h + "write_files:\n" + files + "runcmd:\n" + command
	for name, tc := range map[string]struct{ in, out string }{
		"nothing but the header":         {h, all},
		"no line break at the end":       {"#cloud-config", all},
		"no runcmd":                      {h + "write_files:\n- path: /a\n  content: |\n    x\n", h + "write_files:\n" + files + "- path: /a\n  content: |\n    x\nruncmd:\n" + command},
		"no write_files: before runcmd":  {h + "runcmd:\n  - a\n", h + "write_files:\n" + files + "runcmd:\n  " + command + "  - a\n"},
		"neither":                        {h + "# why\nhostname: a\n", h + "# why\nwrite_files:\n" + files + "hostname: a\nruncmd:\n" + command},
		"empty values":                   {h + "write_files:\nruncmd: # later\n", h + "write_files:\n" + files + "runcmd: # later\n" + command},
		"unquoted jinja stays":           {h + "hostname: {{ ds.name }}\nruncmd:\n- a\n", h + "write_files:\n" + files + "hostname: {{ ds.name }}\nruncmd:\n" + command + "- a\n"},
		"a block scalar that keeps ends": {h + "write_files:\n- path: /a\n  content: |+\n    x\n\n\nruncmd:\n- a\n", h + "write_files:\n" + files + "- path: /a\n  content: |+\n    x\n\n\nruncmd:\n" + command + "- a\n"},
		"Windows line breaks":            {"#cloud-config\r\nruncmd:\r\n- a\r\n", "#cloud-config\r\nwrite_files:\n" + files + "runcmd:\r\n" + command + "- a\r\n"},
		"a file of ours in another form": {h + "write_files:\n- path: /b\n- path: /opt/bin/configure-containerd-registries.sh\n  content: |\n    #!/bin/sh\n    # old\n\n    exit\n# end\nruncmd:\n- a\n", h + "write_files:\n" + files + "- path: /b\n# end\nruncmd:\n" + command + "- a\n"},
		"old values, moved down":         {h + "write_files:\n- path: /b\n" + strings.Replace(files, "eAo=", "eQo=", 1) + "runcmd:\n- a\n" + command, h + "write_files:\n" + files + "- path: /b\nruncmd:\n" + command + "- a\n"},
		"a dash on its own line":         {h + "write_files:\n-\n  path: /etc/capi-registry-cache/certs-dir\n-\n  path: /b\nruncmd:\n-\n a\n", h + "write_files:\n" + files + "-\n  path: /b\nruncmd:\n" + command + "-\n a\n"},
		"runcmd stands first":            {h + "runcmd:\n- a\nwrite_files:\n- path: /b\n", h + "runcmd:\n" + command + "- a\nwrite_files:\n" + files + "- path: /b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want := []payload.File{{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("x\n")}}
			out, err := Inject([]byte(tc.in), want, unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(out)).To(Equal(tc.out))
			again, err := Inject(out, want, unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(tc.out), "I4")
		})
	}
}

func TestInject_refuses_what_it_cannot_change_safely(t *testing.T) {
	const h = "#cloud-config\n"
	for name, tc := range map[string]struct{ in, reason string }{
		"no header":                 {"runcmd:\n- a\n", "does not start with"},
		"jinja header only":         {"## template: jinja\nruncmd: []\n", "does not start with"},
		"jinja statements":          {h + "{% if x %}\nruncmd:\n- a\n{% endif %}\n", "not YAML: line"},
		"an unknown anchor":         {h + "password: *secret\n", "not YAML"},
		"a list at the top":         {h + "- a\n", "not a mapping"},
		"a flow mapping at the top": {h + "{runcmd: [a]}\n", "not a mapping"},
		"two documents":             {h + "a: b\n---\nc: d\n", "single YAML document"},
		"a document end":            {h + "a: b\n...\n", "checking the result"},
		"write_files is a mapping":  {h + "write_files: {a: b}\n", "write_files is not a list"},
		"runcmd in flow style":      {h + "runcmd: [a]\n", "runcmd is not a list"},
		"runcmd is a string":        {h + "runcmd: a\n", "runcmd is not a list"},
		"an anchor at the list":     {h + "runcmd: &x\n- a\nbootcmd: *x\n", "runcmd is not a list"},
		"an indented mapping":       {h + "  runcmd:\n  - a\n", "first column"},
		"a key twice":               {h + "runcmd:\n- a\nruncmd:\n- b\n", "repeats a key"},
		"a merge key":               {h + "a: &a\n  b: c\n<<: *a\n", "plain key"},
		"a text that ends open":     {h + "a: |\n  b", "foreign part"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := Inject([]byte(tc.in), someFiles(), unit)
			g.Expect(err).To(MatchError(ContainSubstring(tc.reason)))
			g.Expect(err.Error()).NotTo(ContainSubstring("secret"), "I7")
		})
	}
}

func TestInject_refuses_lines_that_a_line_reader_could_not_take(t *testing.T) {
	_, err := Inject([]byte("#cloud-config\n"), []payload.File{{Path: "/etc/capi-registry-cache/x", Content: make([]byte, 50<<10)}}, unit)
	NewWithT(t).Expect(err).To(MatchError(errLine))
	_, err = Inject([]byte("#cloud-config\n"), nil, unit)
	NewWithT(t).Expect(err).To(MatchError(errNoFiles))
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}
