package payload

import (
	"os"
	"strings"
	"testing"

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
		answered := "docker.io: cache " + probe + " answered\ndocker.io: wrote " + path + "\n"
		n.Expect(n.log.String()).To(Equal(answered + "docker.io: cache " + probe + " does not answer, withdrew " + path + "\n" +
			answered + "withdrew " + path + "\n"))
		n.Expect(n.read("curl.log")).To(ContainSubstring("--silent --fail --noproxy * --connect-timeout 1 --max-time 2"))
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

		n.Expect(os.RemoveAll(n.path("etc/capi-registry-cache/upstreams/docker.io"))).To(Succeed())
		n.Eventually(n.state, patience).Should(Equal("registry.example:5443 active\n"))
		n.Expect(n.certs()).To(ConsistOf("registry.example_5443_/hosts.toml"))
		n.stop()
	})
}

func TestRun_forgets_what_an_earlier_process_left(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		for _, path := range []string{"docker.io/hosts.toml", "quay.io/hosts.toml", "ghcr.io/hosts.toml.tmp~"} {
			n.write(DefaultCertsDir+"/"+path, Marker+"\n")
		}
		n.start()
		n.Eventually(n.state, patience).Should(ContainSubstring("docker.io waiting"))
		n.Expect(n.certs()).To(BeEmpty())
		n.stop()
	})
}

func TestRun_writes_nothing_on_an_unsupported_node(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newNode(t, shell, hub)
		n.answer("up/10.0.0.1", "")
		n.write("run/capi-registry-cache/unsupported", "for a reason\n")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io unsupported for a reason\n"))
		n.Expect(n.certs()).To(BeEmpty())
		n.Expect(n.log.String()).To(Equal("docker.io: unsupported for a reason\n"))
		n.stop()
	})
}
