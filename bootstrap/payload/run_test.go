package payload

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

var (
	hub   = Cache{Upstream: "docker.io", Endpoint: "http://10.0.0.1:5000"}
	other = Cache{Upstream: "registry.example:5443", Endpoint: "http://10.0.0.2:5000"}
)

const patience = "20s"

func TestRun_hosts_toml_exists_only_while_the_cache_answers(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		path := n.path("etc/containerd/certs.d/docker.io/hosts.toml")
		probe := "http://10.0.0.1:5000/v2/?ns=docker.io"
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io waiting cache " + probe + " does not answer\n"))
		n.Expect(n.certs()).To(BeEmpty())

		n.answer("up/10.0.0.1", "")
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		want, err := os.ReadFile(n.path("etc/capi-registry-cache/upstreams/docker.io/hosts.toml"))
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(os.ReadFile(path)).To(Equal(want))

		n.silence("up/10.0.0.1")
		n.Eventually(n.state, patience).Should(ContainSubstring("waiting"))
		n.Expect(n.path("etc/containerd/certs.d/docker.io")).NotTo(BeADirectory())

		n.answer("up/10.0.0.1", "")
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.stop()
		n.Expect(n.certs()).To(BeEmpty(), "nobody watches any more")
		n.Expect(n.state()).To(BeEmpty())
		waiting := "docker.io: waiting cache " + probe + " does not answer\n"
		active := "docker.io: wrote " + path + "\ndocker.io: active\n"
		withdrew := "withdrew " + path + "\n"
		n.Expect(n.log.String()).To(Equal(waiting + active + waiting + withdrew + active + withdrew))
		n.Expect(n.read("curl.log")).To(ContainSubstring("-sfg --noproxy * --connect-timeout 1 -m 2"))
	})
}

func TestRun_steady_state_is_silent_and_one_lost_probe_changes_nothing(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub, other)
		n.answer("up/10.0.0.1", "")
		n.start()
		n.Eventually(n.state, patience).Should(ContainSubstring("docker.io active\nregistry.example:5443 waiting"))
		log := n.log.String()
		before, err := os.Stat(n.path("etc/containerd/certs.d/docker.io/hosts.toml"))
		n.Expect(err).NotTo(HaveOccurred())
		n.answer("once/10.0.0.1", "")
		n.rounds(6)
		n.Expect(n.path("etc/containerd/certs.d/docker.io/hosts.toml")).To(BeARegularFile())
		after, err := os.Stat(n.path("etc/containerd/certs.d/docker.io/hosts.toml"))
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(os.SameFile(before, after)).To(BeTrue(), "I6")
		n.Expect(n.log.String()).To(Equal(log), "I6")
		n.stop()
	})
}

func TestRun_follows_the_desired_state(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		installed := "etc/containerd/certs.d/docker.io/hosts.toml"
		n.answer("up/10.0.0.1", "")
		n.answer("up/10.0.0.2", "")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))

		n.install(hub, other)
		n.Eventually(n.state, patience).Should(Equal("docker.io active\nregistry.example:5443 active\n"))
		n.write("etc/capi-registry-cache/upstreams/docker.io/hosts.toml", Marker+"\n# new\n")
		n.Eventually(func() string { return n.read(installed) }, patience).Should(Equal(Marker + "\n# new\n"))

		n.write("etc/capi-registry-cache/upstreams/docker.io/fallback.toml", Marker+"\n# fallback\n")
		n.silence("up/10.0.0.1")
		n.Eventually(func() string { return n.read(installed) }, patience).Should(Equal(Marker + "\n# fallback\n"))

		n.remove("etc/capi-registry-cache/upstreams/docker.io")
		n.Eventually(n.state, patience).Should(Equal("registry.example:5443 active\n"))
		n.Expect(n.certs()).To(ConsistOf("registry.example_5443_/hosts.toml"))
		n.stop()
	})
}

func TestRun_installs_the_form_that_containerd_1_x_reads(t *testing.T) {
	t.Parallel()
	six := Cache{Upstream: "quay.io", Endpoint: "http://[fd00::fa]:5000"}
	for name, tc := range map[string]struct{ dump, form string }{"1.x": {dump1, "v1-hosts.toml"}, "2.x": {dump2, "hosts.toml"}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, shells["dash"], hub, six)
			n.answer("dump", tc.dump)
			n.answer("up/10.0.0.1", "")
			n.answer("up/[fd00", "")
			n.start()
			n.Eventually(n.state, patience).Should(Equal("docker.io active\nquay.io active\n"))
			n.Expect(n.read(DefaultCertsDir + "/quay.io/hosts.toml")).To(Equal(n.read("etc/capi-registry-cache/upstreams/quay.io/" + tc.form)))
			n.Expect(n.read(DefaultCertsDir + "/docker.io/hosts.toml")).To(Equal(n.read("etc/capi-registry-cache/upstreams/docker.io/hosts.toml")))
			n.stop()
		})
	}
}

func TestRun_forgets_what_an_earlier_process_left(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		for _, path := range []string{"docker.io/hosts.toml", "quay.io/hosts.toml", "quay.io/ca.pem", "ghcr.io/hosts.toml.tmp~", "ghcr.io/ca.pem.tmp~"} {
			n.write(DefaultCertsDir+"/"+path, Marker+"\n")
		}
		n.start()
		n.Eventually(n.state, patience).Should(ContainSubstring("docker.io waiting"))
		n.Expect(n.certs()).To(BeEmpty())
		n.stop()
	})
}

func TestRun_ends_when_the_directory_changes_so_that_containerd_is_prepared_for_it(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.write("etc/capi-registry-cache/certs-dir", "/etc/certs.d\n")
		n.Expect(n.process.Wait()).To(Succeed())
		n.Expect(n.certs()).To(BeEmpty())

		n.answer("path", "/etc/certs.d")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.Expect(n.files("etc/certs.d")).To(ConsistOf("docker.io/hosts.toml"))
		n.remove("etc/capi-registry-cache")
		n.Eventually(func() []string { return n.files("etc/certs.d") }, patience).Should(BeEmpty(), "I8")
		n.Expect(n.process.ProcessState).To(BeNil())
		n.stop()
	})
}

func TestRun_tells_when_containerd_restarts_without_the_directory(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		const socket = "run/containerd/containerd.sock"
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.write(socket, "")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.rounds(2)
		restart := func(path string) {
			n.answer("path", path)
			later := time.Now().Add(time.Second)
			n.Expect(os.Chtimes(n.path(socket), later, later)).To(Succeed())
		}
		restart("")
		n.Eventually(n.state, patience).Should(Equal("docker.io unsupported config_path of containerd is '', not '" + DefaultCertsDir + "'\n"))
		n.Expect(n.certs()).To(BeEmpty())
		n.Expect(n.read("systemctl.log")).To(BeEmpty(), "this is no time to restart it")
		restart(DefaultCertsDir)
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.write(running1, "1")
		restart(defaults)
		n.Eventually(n.state, patience).Should(Equal("docker.io unsupported config_path is '" + defaults + "' and containers run: drain and reboot, or replace the node\n"))
		n.stop()
	})
}

func TestRun_stopped_in_the_middle_of_a_round_leaves_nothing(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub, other)
		n.answer("up/10.0.0.1", "")
		n.answer("up/10.0.0.2", "")
		for i := range 10 {
			n.start()
			n.Eventually(func() int { return len(n.certs()) }, patience, "1ms").Should(BeNumerically(">", i%2))
			n.stop()
			n.Expect(n.certs()).To(BeEmpty())
			n.Expect(n.temporary()).To(BeEmpty())
			n.Expect(n.state()).To(BeEmpty())
		}
	})
}

func TestRun_writes_nothing_on_an_unsupported_node(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.answer("path", "")
		n.write("run/capi-registry-cache/unsupported", "for a reason\n")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io unsupported for a reason\n"))
		n.Expect(n.certs()).To(BeEmpty())
		n.Expect(n.log.String()).To(Equal("docker.io: unsupported for a reason\n"))
		n.stop()
	})
}
