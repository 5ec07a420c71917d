package payload

import (
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	rootConfig = "etc/containerd/config.toml"
	dropIn     = "etc/containerd/conf.d/99-capi-registry-cache.toml"
	flatcar    = "usr/share/containerd/config.toml"

	key      = "config_path = \"" + DefaultCertsDir + "\" " + Marker + "\n"
	table    = "[plugins.\"io.containerd.grpc.v1.cri\".registry] " + Marker + "\n" + key
	ownFile  = Marker + "\nversion = 2 " + Marker + "\n" + table
	section1 = Marker + `
version = 2 ` + Marker + `
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.10"
    [plugins."io.containerd.grpc.v1.cri".registry]
` + key + `      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]
`
	defaults  = "/etc/containerd/certs.d:/etc/docker/certs.d"
	restarted = "restart containerd\n"
	watched   = "daemon-reload\n"
	sandbox   = "pause:3.10"
	unchanged = "version = 2\n"
)

type prepareCase struct {
	files       map[string]string // of the node, before
	fakes       map[string]string // how containerd and systemd behave; without "path", config_path is not set
	unsupported string            // part of the reason, "" when there must be none
	restarts    string
	want        map[string]string // files of the node, after; "" is absent
}

func TestPrepare_makes_containerd_read_the_directory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]prepareCase{
		"it does already": {
			files: map[string]string{rootConfig: unchanged},
			fakes: map[string]string{"path": DefaultCertsDir},
			want:  map[string]string{rootConfig: unchanged, dropIn: ""},
		},
		"it does already, 1.x":    {fakes: map[string]string{"dump": dump1, "path": DefaultCertsDir}},
		"no configuration at all": {restarts: restarted, want: map[string]string{rootConfig: ownFile, dropIn: ""}},
		"no configuration at all, 1.x": {
			fakes:    map[string]string{"dump": dump1},
			restarts: restarted,
			want:     map[string]string{rootConfig: ownFile, dropIn: ""},
		},
		"the root imports conf.d": {
			files:    map[string]string{rootConfig: unchanged},
			fakes:    map[string]string{"imports-conf.d": ""},
			restarts: restarted,
			want:     map[string]string{rootConfig: unchanged, dropIn: ownFile},
		},
		"the list that is the default": {
			files:    map[string]string{rootConfig: "version = 3\n"},
			fakes:    map[string]string{"imports-conf.d": "", "path": defaults},
			restarts: restarted,
			want:     map[string]string{dropIn: ownFile},
		},
		"version 4, no table": {
			files:    map[string]string{rootConfig: "version = 4\n[a]\nversion = 1\n"},
			restarts: restarted,
			want:     map[string]string{rootConfig: "version = 4\n[a]\nversion = 1\n[plugins.\"io.containerd.cri.v1.images\".registry] " + Marker + "\n" + key, dropIn: ""},
		},
		"version 3, a table in single quotes": {
			files:    map[string]string{rootConfig: "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n\tconfig_path = ''\n[b]\nconfig_path = 'c'"},
			restarts: restarted,
			want:     map[string]string{rootConfig: "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n" + key + "[b]\nconfig_path = 'c'\n", dropIn: ""},
		},
		"version 1": {
			files:    map[string]string{rootConfig: "[plugins.cri]\n"},
			fakes:    map[string]string{"dump": dump1},
			restarts: restarted,
			want:     map[string]string{rootConfig: "[plugins.cri]\n[plugins.\"cri\".registry] " + Marker + "\n" + key},
		},
		"1.x, and the root imports conf.d": {
			files:    map[string]string{rootConfig: unchanged},
			fakes:    map[string]string{"dump": dump1, "imports-conf.d": "", "loses": sandbox},
			restarts: restarted,
			want:     map[string]string{rootConfig: unchanged + table, dropIn: ""},
		},
		"a drop-in that would cost a setting of 2.x": {
			files:    map[string]string{rootConfig: unchanged},
			fakes:    map[string]string{"imports-conf.d": "", "loses": sandbox},
			restarts: restarted,
			want:     map[string]string{rootConfig: unchanged + table, dropIn: ""},
		},
		"a configuration elsewhere": {
			files:    map[string]string{"proc/7/cmdline": "containerd\x00--config\x00/" + flatcar + "\x00", flatcar: unchanged},
			fakes:    map[string]string{"pid": "7\n", "imports-conf.d": ""},
			restarts: restarted,
			want:     map[string]string{rootConfig: "", dropIn: ownFile, flatcar: unchanged},
		},
		"a restart that was interrupted": {
			files:    map[string]string{"run/capi-registry-cache/restart": ""},
			fakes:    map[string]string{"path": DefaultCertsDir},
			restarts: restarted,
		},
		"a directory of an earlier desired state": {
			files:    map[string]string{dropIn: strings.ReplaceAll(ownFile, DefaultCertsDir, "/old"), rootConfig: unchanged},
			fakes:    map[string]string{"imports-conf.d": ""},
			restarts: restarted,
			want:     map[string]string{dropIn: ownFile},
		},
	} {
		t.Run(name, tc.check)
	}
}

func TestPrepare_leaves_containerd_alone_and_says_why(t *testing.T) {
	t.Parallel()
	before := map[string]string{rootConfig: unchanged, dropIn: ""}
	for name, tc := range map[string]prepareCase{
		"it takes no effect":                       {fakes: map[string]string{"ignores": ""}, unsupported: "could not be set"},
		"containerd does not come back":            {fakes: map[string]string{"restart-fails": ""}, unsupported: "it did not start", restarts: restarted + restarted},
		"nor with a drop-in":                       {fakes: map[string]string{"restart-fails": "", "imports-conf.d": ""}, unsupported: "it did not start", restarts: restarted + restarted},
		"containers run":                           {files: map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/pid": "1"}, unsupported: "containers run: drain"},
		"containers run, in another place":         {files: map[string]string{"run/c/io.containerd.runtime.v2.task/k8s.io/abc/pid": "1"}, unsupported: "containers run: drain"},
		"mirrors in the configuration":             {fakes: map[string]string{"dump": dump2 + "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\n"}, unsupported: "registry.mirrors"},
		"certificates in the configuration, 1.x":   {fakes: map[string]string{"dump": dump1 + "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"quay.io\".tls]\n"}, unsupported: "registry.configs.*.tls"},
		"files in the other directory of the list": {files: map[string]string{"etc/docker/certs.d/quay.io/ca.crt": "x"}, fakes: map[string]string{"path": defaults}, unsupported: "would no longer read /etc/docker/certs.d:"},
		"files in a default directory":             {files: map[string]string{"etc/docker/certs.d/quay.io/ca.crt": "x"}, unsupported: "would no longer read /etc/docker/certs.d:"},
		"another directory":                        {fakes: map[string]string{"path": "/etc/foo"}, unsupported: "is '/etc/foo', not '/etc/containerd/certs.d'"},
		"a broken configuration":                   {fakes: map[string]string{"dump": ""}, unsupported: "does not read "},
	} {
		tc.want = before
		if tc.files == nil {
			tc.files = map[string]string{}
		}
		tc.files[rootConfig] = unchanged
		t.Run(name, tc.check)
	}
}

func (tc prepareCase) check(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("path", "")
		n.write(DefaultCertsDir+"/docker.io/hosts.toml", Marker+"\n")
		for path, content := range tc.files {
			n.write(path, content)
		}
		for fake, content := range tc.fakes {
			n.answer(fake, content)
		}
		n.Expect(n.command("prepare").Run()).To(Succeed(), n.log.String())
		n.Expect(n.certs()).To(BeEmpty(), "ours is forgotten")
		switch {
		case tc.restarts == restarted+restarted:
			n.Expect(n.read("systemctl.log")).To(Equal(tc.restarts), "what did not start is not tried again")
		case strings.HasPrefix(tc.unsupported, "containers run"):
			n.Expect(n.read("systemctl.log")).To(BeEmpty(), "a reload may take devices from them")
		default:
			n.Expect(n.read("systemctl.log")).To(Equal(tc.restarts+watched), n.log.String())
		}
		if tc.unsupported == "" {
			n.Expect(n.reason()).To(BeEmpty())
		}
		n.Expect(n.reason()).To(ContainSubstring(tc.unsupported))
		for path, content := range tc.want {
			n.Expect(n.read(path)).To(Equal(content), path)
		}
		n.Expect(n.temporary()).To(BeEmpty())
		if tc.restarts == restarted {
			n.answer("systemctl.log", "")
			n.Expect(n.command("prepare").Run()).To(Succeed())
			n.Expect(n.read("systemctl.log")).To(BeEmpty(), "one restart and one reload, and no more")
		}
	})
}

// The root configuration of Flatcar is on a read-only file system. Root may write any other file, so this one is in /proc.
func TestPrepare_takes_the_whole_section_where_1_x_has_a_read_only_root(t *testing.T) {
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		for fake, content := range map[string]string{"path": "", "dump": dump1, "imports-conf.d": "", "loses": sandbox} {
			n.answer(fake, content)
		}
		n.Expect(os.MkdirAll(n.path("etc/containerd"), 0o755)).To(Succeed())
		n.Expect(os.Symlink("/proc/version", n.path(rootConfig))).To(Succeed())
		n.Expect(n.command("prepare").Run()).To(Succeed(), n.log.String())
		n.Expect(n.reason()).To(BeEmpty())
		n.Expect(n.read(dropIn)).To(Equal(section1))
		info, err := os.Stat(n.path(dropIn))
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)), "the section may hold credentials")
		n.Expect(n.read("systemctl.log")).To(Equal(restarted + watched))
	})
}

func TestPrepare_without_containerd(t *testing.T) {
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("pid", "7")
		n.write("proc/7/cmdline", "/nowhere/containerd\x00")
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.Expect(n.reason()).To(Equal("containerd was not found\n"))
	})
}

func TestPrepare_interrupted_leaves_the_configuration_as_it_was(t *testing.T) {
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.write(rootConfig, unchanged)
		for fake, content := range map[string]string{"path": "", "imports-conf.d": "", "hang": ""} {
			n.answer(fake, content)
		}
		n.process = n.command("prepare")
		n.Expect(n.process.Start()).To(Succeed())
		n.Eventually(func() string { return n.read(dropIn) }, patience).ShouldNot(BeEmpty())
		n.terminate()
		n.silence("hang")
		n.Expect(n.process.Wait()).To(Succeed())
		n.Expect(n.read(rootConfig)).To(Equal(unchanged))
		n.Expect(n.path(dropIn)).NotTo(BeAnExistingFile())
		n.Expect(n.read("systemctl.log")).To(BeEmpty())
		n.Expect(n.temporary()).To(BeEmpty())
	})
}

func TestPrepare_killed_before_the_change_was_proven_begins_anew(t *testing.T) {
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.write(rootConfig, unchanged)
		for fake, content := range map[string]string{"path": "", "imports-conf.d": "", "hang": "", "loses": sandbox} {
			n.answer(fake, content)
		}
		n.process = n.command("prepare")
		n.Expect(n.process.Start()).To(Succeed())
		n.Eventually(func() string { return n.read(dropIn) }, patience).ShouldNot(BeEmpty())
		n.Expect(n.process.Process.Kill()).To(Succeed())
		n.silence("hang")
		n.Expect(n.process.Wait()).NotTo(Succeed())
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.Expect(n.read(rootConfig)).To(Equal(unchanged+table), "the drop-in would have cost a setting")
		n.Expect(n.path(dropIn)).NotTo(BeAnExistingFile())
		n.Expect(n.read("systemctl.log")).To(Equal(restarted + watched))
	})
}
