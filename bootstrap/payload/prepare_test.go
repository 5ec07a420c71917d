package payload

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	rootConfig = "etc/containerd/config.toml"
	dropIn     = "etc/containerd/conf.d/99-capi-registry-cache.toml"
	table      = Marker + "\nversion = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"" + DefaultCertsDir + "\"\n"
	defaults   = "/etc/containerd/certs.d:/etc/docker/certs.d"
)

func TestPrepare_makes_containerd_read_the_directory(t *testing.T) {
	restarted := "restart containerd\n"
	for name, tc := range map[string]struct {
		files       map[string]string // of the node, before
		fakes       map[string]string
		unsupported string // part of the reason
		restarts    string
		want        map[string]string // of the node, after; "" is absent
	}{
		"it does already": {
			files: map[string]string{rootConfig: "version = 3\n"},
			fakes: map[string]string{"dump": dump(DefaultCertsDir)},
			want:  map[string]string{rootConfig: "version = 3\n", dropIn: ""},
		},
		"it does already, 1.x": {
			fakes: map[string]string{"version": "containerd containerd.io 1.7.28 abc\n", "dump": "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n config_path = \"" + DefaultCertsDir + "\"\n"},
		},
		"no configuration at all": {restarts: restarted, want: map[string]string{rootConfig: table, dropIn: ""}},
		"empty, the root imports conf.d": {
			files:    map[string]string{rootConfig: "version = 2\n"},
			fakes:    map[string]string{"imports-conf.d": ""},
			restarts: restarted,
			want:     map[string]string{rootConfig: "version = 2\n", dropIn: table},
		},
		"the list that is the default": {
			files:    map[string]string{rootConfig: "version = 3\n"},
			fakes:    map[string]string{"imports-conf.d": "", "dump": dump(defaults)},
			restarts: restarted,
			want:     map[string]string{dropIn: table},
		},
		"empty, the root imports nothing": {
			files:    map[string]string{rootConfig: "version = 2\n[a]\n"},
			restarts: restarted,
			want:     map[string]string{rootConfig: "imports = [\"ROOT/" + dropIn + "\"] " + Marker + "\nversion = 2\n[a]\n", dropIn: table},
		},
		"empty, the root imports something else": {
			files:    map[string]string{rootConfig: "version = 2\nimports = [\n\"/x\"]\n"},
			restarts: restarted,
			want:     map[string]string{rootConfig: "version = 2\nimports = [\"ROOT/" + dropIn + "\", \n\"/x\"]\n", dropIn: table},
		},
		"a configuration elsewhere": {
			files:    map[string]string{"proc/7/cmdline": "/usr/bin/containerd\x00--config\x00/usr/share/containerd/config.toml\x00", "usr/share/containerd/config.toml": "version = 2\n"},
			fakes:    map[string]string{"pid": "7\n", "imports-conf.d": ""},
			restarts: restarted,
			want:     map[string]string{rootConfig: "", dropIn: table, "usr/share/containerd/config.toml": "version = 2\n"},
		},
		"a restart that was interrupted": {
			files:    map[string]string{"run/capi-registry-cache/restart": ""},
			fakes:    map[string]string{"dump": dump(DefaultCertsDir)},
			restarts: restarted,
		},
		"it takes no effect": {
			files:       map[string]string{rootConfig: "version = 2\n"},
			fakes:       map[string]string{"ignores": ""},
			unsupported: "could not be set",
			want:        map[string]string{rootConfig: "version = 2\n", dropIn: ""},
		},
		"containerd does not come back": {
			files:       map[string]string{rootConfig: "version = 2\n"},
			fakes:       map[string]string{"restart-fails": ""},
			unsupported: "took it back",
			restarts:    restarted + restarted,
			want:        map[string]string{rootConfig: "version = 2\n", dropIn: ""},
		},
		"containers run": {
			files:       map[string]string{rootConfig: "version = 2\n", "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/pid": "1"},
			unsupported: "containers run: drain",
			want:        map[string]string{rootConfig: "version = 2\n", dropIn: ""},
		},
		"mirrors in the configuration": {
			fakes:       map[string]string{"dump": dump("") + "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\n"},
			unsupported: "registry.mirrors",
		},
		"files in the other directory of the list": {
			files:       map[string]string{"etc/docker/certs.d/quay.io/ca.crt": "x"},
			fakes:       map[string]string{"dump": dump(defaults)},
			unsupported: "/etc/docker/certs.d holds files",
		},
		"another directory":      {fakes: map[string]string{"dump": dump("/etc/foo")}, unsupported: "is '/etc/foo', not '/etc/containerd/certs.d'"},
		"1.x that does not":      {fakes: map[string]string{"version": "containerd containerd.io 1.7.28 abc\n"}, unsupported: "containerd 1.7.28 is ''"},
		"a broken configuration": {fakes: map[string]string{"dump": ""}, files: map[string]string{rootConfig: "x"}, unsupported: "does not read its own configuration"},
		"no containerd":          {fakes: map[string]string{"version": ""}, unsupported: "containerd was not found"},
	} {
		t.Run(name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, shell []string) {
				n := newNode(t, shell, hub)
				n.write(DefaultCertsDir+"/docker.io/hosts.toml", Marker+"\n")
				for path, content := range tc.files {
					n.write(path, content)
				}
				for fake, content := range tc.fakes {
					n.answer(fake, content)
				}
				n.Expect(n.command("prepare").Run()).To(Succeed(), n.log.String())
				n.Expect(n.certs()).To(BeEmpty(), "ours is forgotten")
				n.Expect(n.read("systemctl.log")).To(Equal(tc.restarts))
				reason := n.read("run/capi-registry-cache/unsupported")
				if tc.unsupported == "" {
					n.Expect(reason).To(BeEmpty())
				}
				n.Expect(reason).To(ContainSubstring(tc.unsupported))
				for path, content := range tc.want {
					n.Expect(n.read(path)).To(Equal(strings.ReplaceAll(content, "ROOT", n.root)), path)
				}
				if tc.restarts == restarted {
					n.answer("systemctl.log", "")
					n.Expect(n.command("prepare").Run()).To(Succeed())
					n.Expect(n.read("systemctl.log")).To(BeEmpty(), "one restart, and no more")
				}
			})
		})
	}
}
