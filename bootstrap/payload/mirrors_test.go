package payload

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	toml1 "github.com/pelletier/go-toml"
	"github.com/pelletier/go-toml/v2/unstable"
)

var update = flag.Bool("update", false, "write the golden files")

func pullFrom(urls ...string) []MirrorHost {
	var list []MirrorHost
	for _, u := range urls {
		list = append(list, MirrorHost{URL: u, Capabilities: []string{"pull"}})
	}
	return list
}

// goldens are the files of upstreams with mirrors, by the name of their golden file.
var goldens = map[string]Values{
	"mirrors-only": {Mirrors: []Mirror{{Upstream: "docker.io", Hosts: []MirrorHost{
		{URL: "https://mirror.example", Capabilities: []string{"pull", "resolve"}},
		{URL: "http://another.example:8080/hub/v2", Capabilities: []string{"pull"}, OverridePath: true},
	}}}},
	"cache-and-mirrors": {
		Caches: []Cache{{Upstream: "docker.io", Endpoint: "https://10.128.0.250:5000", CA: anotherCA}, ghcr},
		Mirrors: []Mirror{
			{Upstream: "quay.io", Hosts: pullFrom("https://quay.mirror.example")},
			{Upstream: "docker.io", Hosts: []MirrorHost{
				{URL: "https://z.example", Capabilities: []string{"pull"}, CA: anotherCA},
				{URL: "https://a.example", Capabilities: []string{"pull"}},
				{URL: "https://m.example", Capabilities: []string{"pull"}, CA: anotherCA},
			}},
		},
	},
	"ipv6": {
		Caches:  []Cache{{Upstream: "docker.io", Endpoint: "http://[fd00::fa]:5000"}},
		Mirrors: []Mirror{{Upstream: "docker.io", Hosts: append(pullFrom("https://z.example", "https://[fd00::2]:8443/hub"), MirrorHost{URL: "https://[fd00::1]", Capabilities: []string{"pull"}, CA: anotherCA})}},
	},
	"the-cache-as-a-mirror": {
		Caches:  []Cache{ghcr},
		Mirrors: []Mirror{{Upstream: "ghcr.io", Hosts: pullFrom(ghcr.Endpoint)}},
	},
}

var ghcr = Cache{Upstream: "ghcr.io", Endpoint: "http://10.128.0.249:5000"}

// shown are all files but script and unit, one after the other; of certificates the first lines, as they are long.
func shown(files []File) string {
	all := ""
	for _, f := range files {
		if f.Path == scriptPath || f.Path == unitPath {
			continue
		}
		content := string(f.Content)
		if i := strings.Index(content, "-----BEGIN CERTIFICATE-----\n"); i >= 0 {
			content = content[:i] + "(certificates)\n"
		}
		all += "--- " + f.Path + "\n" + content
	}
	return all
}

func TestFiles_of_mirrors_are_as_in_the_golden_files(t *testing.T) {
	for name, values := range goldens {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			files, err := Files(values)
			g.Expect(err).NotTo(HaveOccurred())
			path := filepath.Join("testdata", name+".golden")
			if *update {
				g.Expect(os.WriteFile(path, []byte(shown(files)), 0o644)).To(Succeed())
			}
			want, err := os.ReadFile(path)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(shown(files)).To(Equal(string(want)))
		})
	}
}

// content is a file of an upstream, "" if there is none.
func content(files []File, path string) string {
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == stateDir+"/upstreams/"+path })
	if i < 0 {
		return ""
	}
	return string(files[i].Content)
}

// containerd finds the hosts by the tables of the text, from 2.0 on.
func order2(g *WithT, text string) []string {
	var order []string
	parser := unstable.Parser{}
	parser.Reset([]byte(text))
	for parser.NextExpression() {
		if e := parser.Expression(); e.Kind == unstable.Table {
			var parts []string
			for key := e.Key(); key.Next(); {
				parts = append(parts, string(key.Node().Data))
			}
			g.Expect(parts).To(HaveExactElements(Equal("host"), Not(BeEmpty())))
			order = append(order, parts[1])
		}
	}
	g.Expect(parser.Error()).NotTo(HaveOccurred())
	return order
}

// containerd 1.x sorts hosts by the lines on which they begin.
func order1(g *WithT, text string) []string {
	tree, err := toml1.Load(text)
	g.Expect(err).NotTo(HaveOccurred())
	all, ok := tree.Get("host").(*toml1.Tree)
	g.Expect(ok).To(BeTrue())
	lines := map[int]string{}
	for _, key := range all.Keys() {
		one, ok := all.GetPath([]string{key}).(*toml1.Tree)
		g.Expect(ok).To(BeTrue())
		lines[one.Position().Line] = key
	}
	g.Expect(lines).To(HaveLen(len(all.Keys())), "each on a line of its own")
	var order []string
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		order = append(order, lines[line])
	}
	return order
}

func TestFiles_hosts_are_in_the_order_given_for_every_containerd(t *testing.T) {
	g := NewWithT(t)
	mirrors := pullFrom("https://[fd00::9]", "https://z.example", "https://a.example", "https://[fd00::1]:5000/x", "https://m.example/y")
	names := []string{"https://[fd00::9]", "https://z.example", "https://a.example", "https://[fd00::1]:5000/x", "https://m.example/y"}
	files, err := Files(Values{
		Caches:  []Cache{{Upstream: "docker.io", Endpoint: "http://[fd00::fa]:5000"}},
		Mirrors: []Mirror{{Upstream: "docker.io", Hosts: mirrors}, {Upstream: "quay.io", Hosts: mirrors[1:3]}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	all := append([]string{"http://[fd00::fa]:5000"}, names...)
	g.Expect(order2(g, content(files, "docker.io/hosts.toml"))).To(Equal(all))
	g.Expect(order1(g, content(files, "docker.io/v1-hosts.toml"))).To(Equal(all))
	g.Expect(order2(g, content(files, "docker.io/fallback.toml"))).To(Equal(names))
	g.Expect(order1(g, content(files, "docker.io/v1-fallback.toml"))).To(Equal(names))
	g.Expect(order2(g, content(files, "quay.io/hosts.toml"))).To(Equal(names[1:3]))
	g.Expect(order1(g, content(files, "quay.io/hosts.toml"))).To(Equal(names[1:3]))
	g.Expect(content(files, "quay.io/v1-hosts.toml")).To(BeEmpty(), "the first form serves all versions")
}

func TestFiles_rejects_mirrors_that_a_node_could_not_use(t *testing.T) {
	key := []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
	pull := []string{"pull"}
	for name, tc := range map[string]struct {
		hosts  []MirrorHost
		reason string
	}{
		"no hosts":                   {nil, "no hosts, at least one is accepted"},
		"a host twice":               {pullFrom("https://a", "https://b", "https://a"), `host "https://a": occurs twice, once is accepted`},
		"no scheme":                  {pullFrom("a.example"), `host "a.example": http:// or https://`},
		"another scheme":             {pullFrom("ftp://a.example"), `host "ftp://a.example": http:// or https://`},
		"a user":                     {pullFrom("https://me@a.example"), "without user"},
		"a query":                    {pullFrom("https://a.example?x=y"), "without user, query"},
		"a trailing slash":           {pullFrom("https://a.example/x/"), "trailing slash"},
		"a root":                     {pullFrom("https://a.example/"), "trailing slash"},
		"a path that leads up":       {pullFrom("https://a.example/x/../y"), `host "https://a.example/x/../y"`},
		"an encoded path":            {pullFrom("https://a.example/%27"), `host "https://a.example/%27"`},
		"a quote":                    {pullFrom("https://a'b"), `host "https://a'b"`},
		"a line break":               {pullFrom("https://a\nb"), `host "https://a\nb"`},
		"brackets without address":   {pullFrom("https://[fd00::1::2]:80"), `host "https://[fd00::1::2]:80"`},
		"no capability":              {[]MirrorHost{{URL: "https://a"}}, `capabilities [] of host "https://a": pull is accepted`},
		"resolve alone":              {[]MirrorHost{{URL: "https://a", Capabilities: []string{"resolve"}}}, `capabilities ["resolve"] of host "https://a": pull is accepted`},
		"another capability":         {[]MirrorHost{{URL: "https://a", Capabilities: []string{"pull", "push"}}}, `capabilities ["pull" "push"]`},
		"a key instead of a CA":      {[]MirrorHost{{URL: "https://a", Capabilities: pull, CA: key}}, `ca of host "https://a": certificates in PEM`},
		"a CA for a host without it": {[]MirrorHost{{URL: "http://a", Capabilities: pull, CA: anotherCA}}, "for an https endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := Files(Values{Mirrors: []Mirror{{Upstream: "docker.io", Hosts: tc.hosts}}})
			g.Expect(err).To(MatchError(And(ContainSubstring("docker.io"), ContainSubstring(tc.reason), Not(ContainSubstring("c2VjcmV0")))))
		})
	}
	g := NewWithT(t)
	_, err := Files(Values{Mirrors: []Mirror{mirrored, mirrored}})
	g.Expect(err).To(MatchError(`mirrors of upstream "docker.io": occur twice, once is accepted`))
	_, err = Files(Values{Mirrors: []Mirror{{Upstream: "a/../b", Hosts: mirrored.Hosts}}})
	g.Expect(err).To(MatchError(ContainSubstring(`upstream "a/../b": host[:port] is accepted`)))
}
