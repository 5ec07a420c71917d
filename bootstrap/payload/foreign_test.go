package payload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

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
			desired := n.read("etc/capi-registry-cache/upstreams/docker.io/hosts.toml")
			link := n.path(DefaultCertsDir + "/" + tc.link)
			n.Expect(os.MkdirAll(filepath.Dir(link), 0o755)).To(Succeed())
			n.Expect(os.Symlink(n.path(tc.target), link)).To(Succeed())
			n.start()
			n.Eventually(n.state, patience).Should(Equal("docker.io conflict " + link + " is not ours\nregistry.example:5443 active\n"))
			n.rounds(2)
			n.stop()
			n.Expect(os.Readlink(link)).To(Equal(n.path(tc.target)))
			n.Expect(n.read("srv/hosts.toml")).To(Equal(Marker + "\n# copied from elsewhere\n"))
			n.Expect(n.read("etc/capi-registry-cache/upstreams/docker.io/hosts.toml")).To(Equal(desired))
			n.Expect(n.files("srv")).To(HaveLen(1))
		})
	}
}

func TestRun_keeps_what_another_upstream_is_linked_to(t *testing.T) {
	t.Parallel()
	n := newNode(t, shells["dash"], hub)
	n.answer("up/10.0.0.1", "")
	n.start()
	n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
	n.Expect(os.Symlink("docker.io", n.path(DefaultCertsDir+"/quay.io"))).To(Succeed())
	log := n.log.String()
	n.rounds(4)
	n.Expect(n.log.String()).To(Equal(log))
	n.Expect(n.certs()).To(ContainElement("docker.io/hosts.toml"))
	n.stop()
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
