package envtest_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

// mirrorsSpec is a spec with one mirror of docker.io, as YAML in flow style.
func mirrorsSpec(host string) string {
	return "mirrors: [{upstream: docker.io, hosts: [" + host + "]}]"
}

func TestRejectedMirrorsNameFieldValueAndWhatIsAccepted(t *testing.T) {
	const first = "spec.mirrors[0].hosts[0]"
	namespace := env.CreateNamespace(t)
	for name, tc := range map[string]struct {
		spec  string
		wants []string
	}{
		"an empty list":              {"mirrors: []", []string{"neither caches nor mirrors given"}},
		"no upstream":                {`mirrors: [{hosts: [{host: "https://a"}]}]`, []string{"spec.mirrors[0].upstream", "Required value"}},
		"an upstream with URL":       {`mirrors: [{upstream: "https://quay.io", hosts: [{host: "https://a"}]}]`, []string{"spec.mirrors[0].upstream", "https://quay.io is not host[:port]"}},
		"two of one upstream":        {`mirrors: [{upstream: quay.io, hosts: [{host: "https://a"}]}, {upstream: quay.io, hosts: [{host: "https://b"}]}]`, []string{"spec.mirrors[1]", "Duplicate value", "quay.io"}},
		"33 upstreams":               {"mirrors:" + manyMirrors(33, 1), []string{"spec.mirrors", "33", "must have at most 32 items"}},
		"no hosts":                   {"mirrors: [{upstream: docker.io}]", []string{"spec.mirrors[0].hosts", "Required value"}},
		"an empty list of hosts":     {mirrorsSpec(""), []string{"spec.mirrors[0].hosts", "should have at least 1 items"}},
		"9 hosts":                    {"mirrors:" + manyMirrors(1, 9), []string{"spec.mirrors[0].hosts", "9", "must have at most 8 items"}},
		"a host twice":               {mirrorsSpec(`{host: "https://a"}, {host: "https://a"}`), []string{"spec.mirrors[0].hosts[1]", "Duplicate value", "https://a"}},
		"a host without a scheme":    {mirrorsSpec("{host: a.example}"), []string{first + ".host", "a.example is not the URL of a mirror", "http:// or https://"}},
		"a host of ftp":              {mirrorsSpec(`{host: "ftp://a"}`), []string{first + ".host", "ftp://a is not the URL of a mirror"}},
		"a host in capital":          {mirrorsSpec(`{host: "https://A.example"}`), []string{first + ".host", "https://A.example is not the URL of a mirror"}},
		"a host with a user":         {mirrorsSpec(`{host: "https://me@a"}`), []string{first + ".host", "https://me@a is not the URL of a mirror", "without user info"}},
		"a host with a query":        {mirrorsSpec(`{host: "https://a?b=c"}`), []string{first + ".host", "https://a?b=c is not the URL of a mirror", "query"}},
		"a host with a slash":        {mirrorsSpec(`{host: "https://a/"}`), []string{first + ".host", "https://a/ is not the URL of a mirror", "trailing slash"}},
		"a path that leads up":       {mirrorsSpec(`{host: "https://a/b/../c"}`), []string{first + ".host", "https://a/b/../c is not the URL of a mirror", ". and .. in the path"}},
		"a path of one dot":          {mirrorsSpec(`{host: "https://a/."}`), []string{first + ".host", "https://a/. is not the URL of a mirror"}},
		"a host port 0":              {mirrorsSpec(`{host: "https://a:0"}`), []string{first + ".host", "https://a:0 is not the URL of a mirror"}},
		"a host port 65536":          {mirrorsSpec(`{host: "https://a:65536"}`), []string{first + ".host", "https://a:65536 is not the URL of a mirror"}},
		"IPv6 without brackets":      {mirrorsSpec(`{host: "https://fd00::1"}`), []string{first + ".host", "https://fd00::1 is not the URL of a mirror", "an IPv6 address in brackets"}},
		"brackets without address":   {mirrorsSpec(`{host: "https://[fd00::1::2]"}`), []string{first + ".host", "https://[fd00::1::2] is not the URL of a mirror"}},
		"too long an address":        {mirrorsSpec(`{host: "https://[1:2:3:4::5:6:7:8]"}`), []string{first + ".host", "https://[1:2:3:4::5:6:7:8] is not the URL of a mirror"}},
		"too short an address":       {mirrorsSpec(`{host: "https://[1:2:3:4:5:6:7]"}`), []string{first + ".host", "https://[1:2:3:4:5:6:7] is not the URL of a mirror"}},
		"IPv4 in brackets":           {mirrorsSpec(`{host: "https://[10.0.0.1]"}`), []string{first + ".host", "https://[10.0.0.1] is not the URL of a mirror"}},
		"no capability":              {mirrorsSpec(`{host: "https://a", capabilities: []}`), []string{first + ".capabilities", "should have at least 1 items"}},
		"push":                       {mirrorsSpec(`{host: "https://a", capabilities: [pull, push]}`), []string{first + ".capabilities[1]", `"push"`, `"pull", "resolve"`}},
		"a capability twice":         {mirrorsSpec(`{host: "https://a", capabilities: [pull, pull]}`), []string{first + ".capabilities[1]", "Duplicate value", "pull"}},
		"resolve alone":              {mirrorsSpec(`{host: "https://a", capabilities: [resolve]}`), []string{first + ".capabilities", "resolve without pull", "[pull] and [pull, resolve]"}},
		"a CA for a host of http":    {mirrorsSpec(`{host: "http://a", caBundleSecretRef: {name: corp}}`), []string{first, "caBundleSecretRef: corp has no meaning for http://a", "https://"}},
		"a CA without a name":        {mirrorsSpec(`{host: "https://a", caBundleSecretRef: {}}`), []string{first + ".caBundleSecretRef.name", "Required value"}},
		"a CA with a slash":          {mirrorsSpec(`{host: "https://a", caBundleSecretRef: {name: a/b}}`), []string{first + ".caBundleSecretRef.name", "a/b is not the name of a Secret"}},
		"overridePath as a string":   {mirrorsSpec(`{host: "https://a", overridePath: "yes"}`), []string{first + ".overridePath", "must be of type boolean"}},
		"a host of 513 characters":   {mirrorsSpec(`{host: "https://a/` + strings.Repeat("b", 503) + `"}`), []string{first + ".host", "may not be more than 512"}},
		"a host with a line break":   {mirrorsSpec(`{host: "https://a\nb"}`), []string{first + ".host: Invalid value"}},
		"a host with a quote":        {mirrorsSpec(`{host: "https://a'b"}`), []string{first + ".host", "https://a'b is not the URL of a mirror"}},
		"a path with encoded quotes": {mirrorsSpec(`{host: "https://a/%27"}`), []string{first + ".host", "https://a/%27 is not the URL of a mirror"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := env.Client.Create(t.Context(), registryCache(g, namespace, tc.spec))
			g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "the API server answers: %v", err)
			for _, want := range tc.wants {
				g.Expect(err.Error()).To(ContainSubstring(want))
			}
		})
	}
}

// What the API server accepts is what nodes can be told of: one mirror that is not would keep all others from them.
func TestAcceptedMirrorsAreWhatNodesCanBeToldOf(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, spec := range map[string]string{
		"a host alone":                  mirrorsSpec(`{host: "https://a"}`),
		"a host of http":                mirrorsSpec(`{host: "http://a.example:5000"}`),
		"a path":                        mirrorsSpec(`{host: "https://a.example:65535/v2/~x_y/.z/w..v", overridePath: true}`),
		"all capabilities":              mirrorsSpec(`{host: "https://a", capabilities: [resolve, pull]}`),
		"an IPv4 address":               mirrorsSpec(`{host: "http://10.0.0.1:5000"}`),
		"IPv6 addresses":                mirrorsSpec(`{host: "http://[fd00::1]"}, {host: "https://[::]:5000/x"}, {host: "https://[1:2:3:4:5:6:7:8]"}, {host: "https://[1::3:4:5:6:7:8]"}, {host: "https://[::2:3:4:5:6:7]"}, {host: "https://[1:2:3:4:5:6::]"}`),
		"another order of the same":     mirrorsSpec(`{host: "https://b"}, {host: "https://a"}`),
		"a cache of the same upstream":  `{caches: [{upstream: docker.io}], ` + mirrorsSpec(`{host: "https://a", caBundleSecretRef: {name: corp}}`) + "}",
		"32 upstreams of 8 hosts each":  "mirrors:" + manyMirrors(32, 8),
		"an upstream that is an IP":     `mirrors: [{upstream: "10.0.0.1:5000", hosts: [{host: "https://a"}]}]`,
		"the upstream's own address":    `mirrors: [{upstream: quay.io, hosts: [{host: "https://quay.io"}]}]`,
		"hosts that differ in the path": mirrorsSpec(`{host: "https://a/b"}, {host: "https://a/c"}`),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rc := registryCache(g, namespace, spec)
			g.Expect(env.Client.Create(t.Context(), rc)).To(Succeed())
			typed := &v1alpha1.RegistryCache{}
			g.Expect(env.Client.Get(t.Context(), key(rc), typed)).To(Succeed(), "the Go types read it")
			values := nodepayload.Values(typed)
			for _, mirror := range values.Mirrors {
				for _, host := range mirror.Hosts {
					g.Expect(host.Capabilities).NotTo(BeEmpty(), "the default")
				}
			}
			_, err := payload.Files(values)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

// manyMirrors are mirrors of n upstreams, with URLs of the greatest length, which is also what CEL costs most for.
func manyMirrors(n, hosts int) string {
	s := strings.Builder{}
	for i := range n {
		fmt.Fprintf(&s, "\n- upstream: h%d%s:65535\n  hosts:", i+10, strings.Repeat(".abcdefghi", 25))
		for j := range hosts {
			fmt.Fprintf(&s, "\n  - host: https://h%d/%s\n    capabilities: [pull, resolve]", j, strings.Repeat("b", 501))
		}
	}
	return s.String()
}
