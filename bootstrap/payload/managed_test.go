package payload

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// look after the node as node-sync does.
func (n *node) manage() { n.write(Managed().Path, string(Managed().Content)) }

// cleared expects that nothing of ours is left, and that systemd was told.
func (n *node) cleared() {
	n.Expect(n.process.Wait()).To(Succeed())
	for _, path := range []string{scriptPath, unitPath, stateDir, "run/capi-registry-cache", DefaultCertsDir + "/docker.io", dropIn, hook} {
		n.Expect(n.path(path)).NotTo(BeAnExistingFile(), path)
	}
	n.Expect(n.read("systemctl.log")).To(Equal("disable " + UnitName + "\ndaemon-reload\nstop --no-block " + UnitName + "\n"))
}

// touched sets the time of files back.
func (n *node) touched(ago time.Duration, paths ...string) {
	then := time.Now().Add(-ago)
	for _, path := range paths {
		n.Expect(os.Chtimes(n.path(path), then, then)).To(Succeed())
	}
}

func TestManaged_node_is_cleared_when_that_is_asked_for(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.manage()
		ours := "config_path = \"" + DefaultCertsDir + "\" " + Marker + "\n"
		n.write(rootConfig, "version = 2\n[a]\nb = 1\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"+ours)
		n.write(dropIn, Marker+"\n"+ours)
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.write(stateDir+"/remove", "")
		n.Expect(n.process.Process.Signal(syscall.SIGHUP)).To(Succeed())
		n.cleared()
		n.Expect(n.read(rootConfig)).To(Equal("version = 2\n[a]\nb = 1\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"))
	})
}

func TestManaged_node_gets_back_the_configuration_that_others_wrote(t *testing.T) {
	t.Parallel()
	old := Marker + "\nversion = 2\n" + theirs + key // as earlier versions wrote it
	for name, tc := range map[string]struct{ now, want string }{
		"none":                      {now: ownFile},
		"none, earlier":             {now: old},
		"none, and then something":  {now: ownFile + "[a]\n", want: "[a]\n"},
		"something":                 {now: unchanged + table, want: unchanged},
		"something, earlier":        {now: unchanged + theirs + key, want: unchanged + theirs},
		"something, and then more":  {now: unchanged + table + "[a]\n", want: unchanged + "[a]\n"},
		"a table that was there":    {now: unchanged + theirs + key + "b = 1\n", want: unchanged + theirs + "b = 1\n"},
		"what clashes with our own": {now: unchanged + table + theirs, want: unchanged + theirs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells["busybox"], hub)
			n.manage()
			n.write(rootConfig, tc.now)
			n.write(stateDir+"/remove", "")
			n.write(hook, "[Service]\n")
			n.start()
			n.cleared()
			n.Expect(n.read(rootConfig)).To(Equal(tc.want))
			n.Expect(n.temporary()).To(BeEmpty())
		})
	}
}

func TestManaged_node_keeps_a_configuration_that_containerd_would_not_read_without_our_line(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells["dash"], hub)
	n.manage()
	config := "version = 2\nconfig_path = \"" + DefaultCertsDir + "\" " + Marker + "\n"
	n.write(rootConfig, config)
	n.start()
	n.Eventually(n.state, patience).Should(ContainSubstring("docker.io waiting"))
	n.answer("dump", "")
	n.write(stateDir+"/remove", "")
	n.cleared()
	n.Expect(n.read(rootConfig)).To(Equal(config))
	n.Expect(n.path(rootConfig + ".tmp~")).NotTo(BeAnExistingFile())
}

func TestManaged_node_clears_itself_when_it_is_abandoned(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.manage()
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.touched(2*time.Hour, stateDir+"/managed.sh")
		n.rounds(1)
		n.Expect(n.state()).To(Equal("docker.io active\n"), "a cache that answers is of use")

		n.silence("up/10.0.0.1")
		n.Eventually(n.state, patience).Should(ContainSubstring("waiting"))
		n.rounds(1)
		n.Expect(n.path(scriptPath)).To(BeARegularFile(), "it answered not long ago")
		n.touched(30*time.Minute, "run/capi-registry-cache/answered")
		n.rounds(1)
		n.Expect(n.path(scriptPath)).To(BeARegularFile())
		n.touched(2*time.Hour, "run/capi-registry-cache/answered")
		n.cleared()
	})
}

func TestManaged_node_that_was_off_for_long_is_not_abandoned_when_it_boots(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells["dash"], hub)
	n.manage()
	n.touched(48*time.Hour, stateDir+"/managed.sh")
	n.start()
	n.Eventually(n.state, patience).Should(ContainSubstring("waiting"))
	n.rounds(1)
	n.Expect(n.path(scriptPath)).To(BeARegularFile())
	n.stop()
}

func TestRun_repeats_the_generation_and_starts_a_round_at_once_when_asked(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.write(stateDir+"/generation", "abc\n")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("generation abc\ndocker.io active\n"))
		n.write(stateDir+"/generation", "def\n")
		n.Expect(n.process.Process.Signal(syscall.SIGHUP)).To(Succeed())
		n.Eventually(n.state, patience).Should(Equal("generation def\ndocker.io active\n"))
		n.Expect(strings.Count(n.log.String(), "wrote")).To(Equal(1))
		n.stop()
	})
}
