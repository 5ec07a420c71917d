package payload

import (
	"os"
	"path/filepath"
	"strings"
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

func TestRun_leaves_foreign_files_alone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ path, state string }{
		"hosts.toml":                       {"docker.io/hosts.toml", "docker.io conflict"},
		"certificates":                     {"docker.io/client.cert", "docker.io conflict"},
		"a file where our CA would be":     {"docker.io/ca.pem", "docker.io conflict"},
		"certificates of a port":           {"registry.example:5443/ca.crt", "registry.example:5443 conflict"},
		"hosts.toml of a port":             {"registry.example_5443_/hosts.toml", "registry.example:5443 conflict"},
		"hosts.toml of a port, with colon": {"registry.example:5443/hosts.toml", "registry.example:5443 conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells["dash"], hub, other)
			n.answer("up/10.0.0.1", "")
			n.answer("up/10.0.0.2", "")
			path := DefaultCertsDir + "/" + tc.path
			n.write(path, "# mine\n")
			n.start()
			line := tc.state + " " + n.path(path) + " is not ours\n"
			n.Eventually(n.state, patience).Should(ContainSubstring(line))
			n.rounds(2)
			n.Expect(n.read(path)).To(Equal("# mine\n"))
			n.Expect(n.certs()).To(HaveLen(2), "the other upstream is served")
			n.Expect(strings.Count(n.log.String(), "is not ours")).To(Equal(1))

			n.Expect(os.Remove(n.path(path))).To(Succeed())
			n.Eventually(n.state, patience).Should(Equal("docker.io active\nregistry.example:5443 active\n"))
			n.Expect(n.certs()).To(ConsistOf("docker.io/hosts.toml", "registry.example_5443_/hosts.toml"))
			n.write(path, "# mine\n")
			n.Eventually(n.state, patience).Should(ContainSubstring(line))
			n.stop()
			n.Expect(n.certs()).To(ConsistOf(tc.path))
		})
	}
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

func TestRun_changes_nothing_through_a_foreign_link(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ link, target string }{
		"to a file":              {"docker.io/hosts.toml", "srv/hosts.toml"},
		"to a file of ours":      {"docker.io/hosts.toml", "etc/capi-registry-cache/upstreams/docker.io/hosts.toml"},
		"to nothing":             {"docker.io/hosts.toml", "srv/nothing"},
		"to another's directory": {"docker.io", "srv"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, shells["dash"], hub, other)
			n.answer("up/10.0.0.1", "")
			n.answer("up/10.0.0.2", "")
			n.write("srv/hosts.toml", Marker+"\n# copied from elsewhere\n")
			before := n.read(tc.target)
			link := n.path(DefaultCertsDir + "/" + tc.link)
			n.Expect(os.MkdirAll(filepath.Dir(link), 0o755)).To(Succeed())
			n.Expect(os.Symlink(n.path(tc.target), link)).To(Succeed())
			n.start()
			n.Eventually(n.state, patience).Should(Equal("docker.io conflict " + link + " is not ours\nregistry.example:5443 active\n"))
			n.rounds(2)
			n.stop()
			n.Expect(os.Readlink(link)).To(Equal(n.path(tc.target)))
			n.Expect(n.read(tc.target)).To(Equal(before))
		})
	}
}

func TestRun_follows_a_linked_certs_directory(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells["dash"], hub)
	n.answer("up/10.0.0.1", "")
	for _, dir := range []string{"etc/containerd", "srv/certs.d"} {
		n.Expect(os.MkdirAll(n.path(dir), 0o755)).To(Succeed())
	}
	n.Expect(os.Symlink(n.path("srv/certs.d"), n.path(DefaultCertsDir))).To(Succeed())
	n.start()
	n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
	n.Expect(n.files("srv")).To(ConsistOf("certs.d/docker.io/hosts.toml"))
	n.stop()
	n.Expect(n.files("srv")).To(BeEmpty())
	n.Expect(os.Readlink(n.path(DefaultCertsDir))).To(Equal(n.path("srv/certs.d")))
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
