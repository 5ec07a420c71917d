package payload

import (
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const (
	installedHosts = DefaultCertsDir + "/docker.io/hosts.toml"
	desiredHosts   = stateDir + "/upstreams/docker.io/hosts.toml"
	desiredOthers  = stateDir + "/upstreams/docker.io/fallback.toml"
)

// mirrored has a private CA for one of its mirrors.
var mirrored = Mirror{Upstream: "docker.io", Hosts: []MirrorHost{
	{URL: "https://z.example", Capabilities: []string{"pull"}, CA: anotherCA},
	{URL: "https://a.example", Capabilities: []string{"pull"}},
}}

var mirroredPEM = mirrorCA("https://z.example")

// newMirrored is a node that knows mirrors, and caches.
func newMirrored(t *testing.T, shell []string, v Values) *node {
	t.Helper()
	n := newNode(t, shell)
	n.installAll(v)
	return n
}

func (n *node) prepare() { n.Expect(n.command("prepare").Run()).To(Succeed(), n.log.String()) }

func TestMirrors_without_a_cache_are_installed_at_once_and_nobody_is_asked(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newMirrored(t, shell, Values{Mirrors: []Mirror{mirrored}})
		files := []string{"docker.io/hosts.toml", "docker.io/" + mirroredPEM}
		n.prepare()
		n.Expect(n.certs()).To(ConsistOf(files), "before kubeadm pulls anything")
		n.Expect(n.read(installedHosts)).To(Equal(n.read(desiredHosts)))
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io static\n"))
		n.Expect(n.certs()).To(ConsistOf(files))
		n.Expect(n.read(DefaultCertsDir + "/docker.io/" + mirroredPEM)).To(HavePrefix(Marker + "\n-----BEGIN CERTIFICATE-----\n"))
		n.Expect(n.read("curl.log")).To(BeEmpty())
		n.stop()
		n.Expect(n.certs()).To(BeEmpty(), "nobody watches any more")
		log := n.log.String()
		n.Expect(strings.Index(log, "withdrew "+n.path(installedHosts))).To(BeNumerically("<", strings.LastIndex(log, mirroredPEM)), "what hosts.toml names goes after it")
	})
}

func TestMirrors_are_used_alone_while_the_cache_does_not_answer(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		n := newMirrored(t, shell, Values{Caches: []Cache{hub}, Mirrors: []Mirror{mirrored}})
		n.Expect(n.read(desiredHosts)).NotTo(Equal(n.read(desiredOthers)))
		n.answer("up/10.0.0.1", "")
		n.prepare()
		n.Expect(n.read(installedHosts)).To(Equal(n.read(desiredOthers)), "nobody has asked the cache yet")
		n.start()
		n.Eventually(n.state, patience).Should(Equal("docker.io active\n"))
		n.Expect(n.read(installedHosts)).To(Equal(n.read(desiredHosts)))
		n.silence("up/10.0.0.1")
		n.Eventually(n.state, patience).Should(ContainSubstring("docker.io waiting cache http://10.0.0.1:5000/v2/?ns=docker.io does not answer"))
		n.Expect(n.read(installedHosts)).To(Equal(n.read(desiredOthers)))
		n.Expect(n.certs()).To(ConsistOf("docker.io/hosts.toml", "docker.io/"+mirroredPEM))
		n.stop()
		n.Expect(n.certs()).To(BeEmpty())
	})
}

func TestMirrors_that_change_are_followed(t *testing.T) {
	t.Parallel()
	n := newMirrored(t, shells["busybox"], Values{Mirrors: []Mirror{mirrored, {Upstream: "quay.io", Hosts: pullFrom("https://quay.mirror.example")}}})
	n.start()
	n.Eventually(n.state, patience).Should(Equal("docker.io static\nquay.io static\n"))
	log := n.log.String()
	n.write(stateDir+"/generation", "1\n")
	n.Expect(n.process.Process.Signal(syscall.SIGHUP)).To(Succeed())
	n.Eventually(n.state, patience).Should(Equal("generation 1\ndocker.io static\nquay.io static\n"), "another round")
	n.Expect(n.log.String()).To(Equal(log), "I6")
	n.remove(stateDir + "/generation")

	changed := mirrored
	changed.Hosts = []MirrorHost{mirrored.Hosts[1], {URL: "https://z.example", Capabilities: []string{"pull"}, CA: append(anotherCA[:len(anotherCA):len(anotherCA)], anotherCA...)}}
	n.installAll(Values{Mirrors: []Mirror{changed}})
	n.remove(stateDir + "/upstreams/quay.io")
	n.Eventually(n.state, patience).Should(Equal("docker.io static\n"))
	n.Eventually(func() string { return n.read(installedHosts) }, patience).Should(Equal(n.read(desiredHosts)))
	n.Expect(strings.Count(n.read(DefaultCertsDir+"/docker.io/"+mirroredPEM), "BEGIN")).To(Equal(2), "at the same place, so nothing that containerd reads is missing")
	n.Eventually(n.certs, patience).Should(ConsistOf("docker.io/hosts.toml", "docker.io/"+mirroredPEM))

	n.remove(stateDir + "/upstreams/docker.io/" + mirroredPEM)
	n.installAll(Values{Mirrors: []Mirror{{Upstream: "docker.io", Hosts: pullFrom("https://z.example")}}})
	n.Eventually(n.certs, patience).Should(ConsistOf("docker.io/hosts.toml"))
	n.stop()
}

// TestMirrors_a_node_that_met_a_part_of_a_change_uses_its_mirrors: files are written one after the other, and the unit may look between.
func TestMirrors_a_node_that_met_a_part_of_a_change_uses_its_mirrors(t *testing.T) {
	t.Parallel()
	n := newMirrored(t, shells["dash"], Values{Mirrors: []Mirror{mirrored}})
	alone := n.read(desiredHosts)
	files, err := Files(Values{Caches: []Cache{{Upstream: "docker.io", Endpoint: "https://10.0.0.1:5000", CA: anotherCA}}, Mirrors: []Mirror{mirrored}})
	n.Expect(err).NotTo(HaveOccurred())
	for _, f := range files {
		n.write(f.Path, string(f.Content))
		n.prepare()
		n.Expect(n.read(installedHosts)).To(Equal(alone), "after %s", f.Path)
	}
	n.Expect(n.read(desiredHosts)).NotTo(Equal(alone))
}

func TestMirrors_leave_certificates_of_others_alone(t *testing.T) {
	t.Parallel()
	n := newMirrored(t, shells["dash"], Values{Mirrors: []Mirror{mirrored}})
	path := DefaultCertsDir + "/docker.io/" + mirroredPEM
	n.write(path, "# mine\n")
	n.start()
	n.Eventually(n.state, patience).Should(Equal("docker.io conflict " + n.path(path) + " is not ours\n"))
	n.stop()
	n.Expect(n.read(path)).To(Equal("# mine\n"))
	n.Expect(n.certs()).To(ConsistOf("docker.io/" + mirroredPEM))
}

func TestMirrors_do_not_keep_a_node_that_nobody_looks_after(t *testing.T) {
	t.Parallel()
	n := newMirrored(t, shells["dash"], Values{Mirrors: []Mirror{mirrored}})
	n.manage()
	n.start()
	n.Eventually(n.state, patience).Should(Equal("docker.io static\n"))
	n.touched(2*time.Hour, stateDir+"/managed.sh", "run/capi-registry-cache/answered")
	n.cleared()
	n.Expect(n.certs()).To(BeEmpty())
}

func TestMirrors_are_not_installed_where_containerd_does_not_read_them(t *testing.T) {
	t.Parallel()
	n := newMirrored(t, shells["dash"], Values{Mirrors: []Mirror{mirrored}})
	n.answer("path", "/srv/certs.d")
	n.prepare()
	n.Expect(n.certs()).To(BeEmpty())
	n.start()
	n.Eventually(n.state, patience).Should(HavePrefix("docker.io unsupported config_path of containerd is '/srv/certs.d'"))
	n.stop()
}
