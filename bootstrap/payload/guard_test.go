package payload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	hook     = "run/systemd/system/containerd.service.d/zz-capi-registry-cache.conf"
	theirs   = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
	running1 = "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/pid"
	mirrors1 = "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\n"
)

// startContainerd is what a command of the user does after it has changed the configuration.
func (n *node) startContainerd() error {
	cmd := n.command("")
	cmd.Args = []string{"systemctl", "restart", "containerd"}
	cmd.Path = filepath.Join(n.bin, "systemctl")
	return cmd.Run()
}

// setPath is the directory that containerd would read now.
func (n *node) setPath() string {
	cmd := n.command("")
	cmd.Args = []string{"containerd", "--config", n.path(rootConfig), "config", "dump"}
	cmd.Path, cmd.Stdout = filepath.Join(n.bin, "containerd"), nil
	printed, err := cmd.Output()
	n.Expect(err).NotTo(HaveOccurred())
	_, rest, _ := strings.Cut(string(printed), "config_path = ")
	path, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(path, "'\"")
}

// guardCase is a node whose configuration somebody changes after prepare has seen to it.
type guardCase struct {
	before, after string            // root configuration, before prepare and after it, where @ is what prepare made of it
	fakes         map[string]string // of the node
	running       bool              // containers of the kubelet, by then
	want          string            // root configuration
	path          string            // what containerd reads, "-" when it does not start
	unsupported   string            // part of the reason
	dropIn        bool              // whether ours is there in the end
}

func TestGuard_containerd_starts_with_what_others_wrote_I1(t *testing.T) {
	t.Parallel()
	imports := map[string]string{"imports-conf.d": "", "dump": dump2}
	for name, tc := range map[string]guardCase{
		"nothing was changed":                   {before: unchanged, after: "@", want: unchanged + table, path: DefaultCertsDir},
		"nothing was changed beside a drop-in":  {before: unchanged, after: "@", fakes: imports, want: unchanged, path: DefaultCertsDir, dropIn: true},
		"the table is appended":                 {before: unchanged, after: "@" + theirs + "config_path = \"" + DefaultCertsDir + "\"\n", want: unchanged + theirs + "config_path = \"" + DefaultCertsDir + "\"\n", path: DefaultCertsDir},
		"the table is appended without a path":  {before: unchanged, after: "@" + theirs + "a = 1\n", want: unchanged + theirs + key + "a = 1\n", path: DefaultCertsDir},
		"another directory is appended":         {before: unchanged, after: "@" + theirs + "config_path = \"/srv\"\n", want: unchanged + theirs + "config_path = \"/srv\"\n", path: "/srv", unsupported: "is '/srv', not"},
		"another directory beside a drop-in":    {before: unchanged, after: "@" + theirs + "config_path = \"/srv\"\n", fakes: imports, want: unchanged + theirs + "config_path = \"/srv\"\n", path: "/srv", unsupported: "is '/srv', not"},
		"the table is appended to ours alone":   {after: "@version = 2\n" + theirs, want: "version = 2\n" + theirs + key, path: DefaultCertsDir},
		"mirrors are appended":                  {before: unchanged, after: "@" + mirrors1, want: unchanged + mirrors1, unsupported: "registry.mirrors"},
		"mirrors are appended beside a drop-in": {before: unchanged, after: "@" + mirrors1, fakes: imports, want: unchanged + mirrors1, unsupported: "registry.mirrors"},
		"it is overwritten":                     {before: unchanged, after: "version = 2\n[a]\n", want: "version = 2\n[a]\n" + table, path: DefaultCertsDir},
		"it is overwritten with mirrors":        {before: unchanged, after: unchanged + mirrors1, want: unchanged + mirrors1, unsupported: "registry.mirrors"},
		"it is removed":                         {before: unchanged, want: ownFile, path: DefaultCertsDir},
		"it is overwritten with no TOML":        {before: unchanged, after: "!", want: "!", path: "-", unsupported: "does not read"},
		"no TOML is appended":                   {before: unchanged, after: "@! \n", want: unchanged + table + "! \n", path: "-", unsupported: "does not read"},
		"no TOML is appended beside a drop-in":  {before: unchanged, after: "@!", fakes: imports, want: unchanged + "!", path: "-", unsupported: "does not read", dropIn: true},
		"it is overwritten, containers run":     {before: unchanged, after: "version = 3\n", running: true, want: "version = 3\n", unsupported: "containers run: drain"},
		"the table is appended, containers run": {before: unchanged, after: "@" + theirs, running: true, want: unchanged + theirs, unsupported: "containers run: drain"},
		"mirrors are appended, containers run":  {before: unchanged, after: "@" + mirrors1, running: true, want: unchanged + mirrors1, unsupported: "registry.mirrors"},
		"nothing was changed, containers run":   {before: unchanged, after: "@", running: true, want: unchanged + table, path: DefaultCertsDir},
	} {
		t.Run(name, tc.check)
	}
}

func (tc guardCase) check(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("dump", dump1)
		n.answer("path", "")
		for fake, content := range tc.fakes {
			n.answer(fake, content)
		}
		if tc.before != "" {
			n.write(rootConfig, tc.before)
		}
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.Expect(n.setPath()).To(Equal(DefaultCertsDir))
		n.change(strings.ReplaceAll(tc.after, "@", n.read(rootConfig)))
		if tc.running {
			n.write(running1, "1")
		}
		for range 2 { // the second start finds nothing to do
			if tc.path == "-" {
				n.Expect(n.startContainerd()).NotTo(Succeed())
			} else {
				n.Expect(n.startContainerd()).To(Succeed(), n.log.String())
				n.Expect(n.setPath()).To(Equal(tc.path))
			}
			n.Expect(n.read(rootConfig)).To(Equal(tc.want))
			if tc.unsupported == "" {
				n.Expect(n.reason()).To(BeEmpty())
			}
			n.Expect(n.reason()).To(ContainSubstring(tc.unsupported))
			_, err := os.Stat(n.path(dropIn))
			n.Expect(err == nil).To(Equal(tc.dropIn), "the drop-in is there")
			n.Expect(n.temporary()).To(BeEmpty())
		}
	})
}

// change is what somebody does to the root configuration, "" removes it.
func (n *node) change(config string) {
	if config == "" {
		n.remove(rootConfig)
	} else {
		n.write(rootConfig, config)
	}
}

// newWatched is a node of containerd 2.x without imports that prepare has seen to.
func newWatched(t *testing.T, shell []string) *node {
	t.Helper()
	n := newNode(t, shell, hub)
	n.answer("path", "")
	n.write(rootConfig, unchanged)
	n.Expect(n.command("prepare").Run()).To(Succeed())
	return n
}

func TestGuard_takes_back_for_good_what_containerd_does_not_start_with_I1(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newWatched(t, shell)
		n.change("version = 2\n[a]\n")
		n.answer("fails-with-path", "")
		n.Expect(n.startContainerd()).NotTo(Succeed())
		for range 2 {
			n.Expect(n.startContainerd()).To(Succeed(), "systemd tries again")
			n.Expect(n.read(rootConfig)).To(Equal("version = 2\n[a]\n"))
			n.Expect(n.reason()).To(ContainSubstring("it did not start"))
		}
		n.silence("fails-with-path")
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.Expect(n.reason()).To(BeEmpty(), "the next start of the unit begins anew")
		n.change(unchanged)
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.setPath()).To(Equal(DefaultCertsDir))
	})
}

func TestGuard_mends_what_others_have_put_right(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newWatched(t, shell)
		n.change("!")
		n.Expect(n.startContainerd()).NotTo(Succeed())
		n.change("version = 3\n")
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.setPath()).To(Equal(DefaultCertsDir))
	})
}

func TestGuard_does_nothing_while_prepare_is_at_work(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newWatched(t, shell)
		n.remove("run/capi-registry-cache/guard")
		n.change(unchanged)
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.read(rootConfig)).To(Equal(unchanged))
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.change(unchanged)
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.setPath()).To(Equal(DefaultCertsDir), "prepare is over")
	})
}

func TestGuard_finds_the_configuration_where_it_was_when_containerd_ran(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("path", "")
		n.answer("pid", "7\n")
		n.write("proc/7/cmdline", "containerd\x00--config\x00/"+flatcar+"\x00")
		n.write(flatcar, unchanged)
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.answer("pid", "0\n")
		n.remove("proc/7")
		n.write(flatcar, "version = 3\n")
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.read(flatcar)).To(HavePrefix("version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry] " + Marker))
		n.Expect(n.read(rootConfig)).To(BeEmpty())
	})
}

func TestGuard_is_not_needed_for_containerd_to_start_I1(t *testing.T) {
	t.Parallel()
	n := newWatched(t, shells["dash"])
	n.Expect(n.read(hook)).To(Equal("[Service]\nExecStartPre=-" + n.path(scriptPath) + " guard\nExecStartPost=-/bin/rm -f " + n.path("run/capi-registry-cache/restart") + "\n"))
	n.remove(scriptPath)
	n.Expect(n.startContainerd()).To(Succeed())
}

func TestPrepare_at_a_boot_mends_what_keeps_containerd_from_starting_I1(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newWatched(t, shell)
		appended := theirs + "config_path = \"" + DefaultCertsDir + "\"\n"
		n.change(unchanged + table + appended)
		n.remove("run")
		n.Expect(os.Remove(filepath.Join(n.fake, "loaded"))).To(Succeed())
		n.Expect(n.startContainerd()).NotTo(Succeed(), "systemd starts it before the unit")
		n.Expect(n.command("prepare").Run()).To(Succeed())
		n.Expect(n.startContainerd()).To(Succeed())
		n.Expect(n.read(rootConfig)).To(Equal(unchanged + appended))
		n.Expect(n.reason()).To(BeEmpty())
	})
}

func TestPrepare_at_a_boot_brings_back_what_our_setting_costs_I1(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fakes        map[string]string
		config       string // after that of prepare, when containerd was not started again
		running      bool
		want, reason string
		restarts     string
	}{
		"the CRI plugin":                                {config: table + mirrors1, want: mirrors1, reason: "registry.mirrors", restarts: restarted},
		"the CRI plugin, by a drop-in":                  {fakes: map[string]string{"imports-conf.d": ""}, config: mirrors1, want: mirrors1, reason: "registry.mirrors", restarts: restarted},
		"containerd, which reads another directory now": {config: table + theirs + "config_path = \"/srv\"\n", want: theirs + "config_path = \"/srv\"\n", reason: "is '/srv', not", restarts: restarted},
		"nothing that restarts, while containers run":   {config: table + theirs + key, running: true, want: theirs, reason: "containers run: drain"},
		"nor if the directory is read still":            {config: table + theirs + "config_path = \"" + DefaultCertsDir + "\"\n", running: true, want: theirs + "config_path = \"" + DefaultCertsDir + "\"\n"},
		"nothing that others have broken themselves":    {config: theirs + "config_path = \"" + DefaultCertsDir + "\"\n" + mirrors1, want: theirs + "config_path = \"" + DefaultCertsDir + "\"\n" + mirrors1, reason: "does not read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachShell(t, func(t *testing.T, shell []string) {
				n := newNode(t, shell, hub)
				n.answer("path", "")
				for fake, content := range tc.fakes {
					n.answer(fake, content)
				}
				n.write(rootConfig, unchanged)
				n.Expect(n.command("prepare").Run()).To(Succeed())
				n.Expect(n.setPath()).To(Equal(DefaultCertsDir))
				n.remove("run")
				n.Expect(os.Remove(filepath.Join(n.fake, "loaded"))).To(Succeed())
				n.change(unchanged + tc.config)
				if tc.running {
					n.write(running1, "1")
				}
				calls := tc.restarts + watched
				if tc.running {
					calls = ""
				}
				for _, calls := range []string{calls, ""} {
					n.answer("systemctl.log", "")
					n.Expect(n.command("prepare").Run()).To(Succeed())
					n.Expect(n.read("systemctl.log")).To(Equal(calls))
					n.Expect(n.read(rootConfig)).To(Equal(unchanged + tc.want))
					if tc.reason == "" {
						n.Expect(n.reason()).To(BeEmpty())
					}
					n.Expect(n.reason()).To(ContainSubstring(tc.reason))
					n.Expect(n.temporary()).To(BeEmpty())
				}
			})
		})
	}
}

func TestUnit_has_one_command_before_its_start_I1(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	unit, err := os.ReadFile("configure-containerd-registries.service")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(unit), "ExecStartPre=")).To(Equal(1), "systemd 219 begins a list anew after a daemon-reload, which prepare does")
}
