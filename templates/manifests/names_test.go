package manifests_test

import (
	"fmt"
	"math/rand"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/quick"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

func TestServiceNamesAreReadable(t *testing.T) {
	tests := map[string]struct{ upstream, want string }{
		"Docker Hub":                       {"docker.io", "registry-docker-io"},
		"dots become dashes":               {"registry.k8s.io", "registry-registry-k8s-io"},
		"one label":                        {"localhost", "registry-localhost"},
		"a port adds a hash":               {"quay.io:5000", "registry-quay-io-5000--b9d817a5"},
		"a dash adds a hash":               {"quay-io", "registry-quay-io--43c4bc88"},
		"the longest name without a hash":  {strings.Repeat("a", 40) + ".io", "registry-" + strings.Repeat("a", 40) + "-io"},
		"a longer name is cut with a hash": {strings.Repeat("a", 41) + ".io", "registry-" + strings.Repeat("a", 33) + "--8706636e"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(manifests.ServiceName(test.upstream)).To(Equal(test.want))
		})
	}
}

// TestServiceNamesStayWhatTheyAre: a name that changes leaves the cache of every cluster without its store and its address.
func TestServiceNamesStayWhatTheyAre(t *testing.T) {
	g := NewWithT(t)
	names := map[string]string{}
	for _, upstream := range []string{
		"docker.io", "quay.io", "ghcr.io", "registry.k8s.io", "a.io:5000", "a.io-5000", "a-b.io", "a.b.io",
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com", "10.0.0.1:5000",
	} {
		names[upstream] = manifests.ServiceName(upstream)
	}
	rendered, err := yaml.Marshal(names)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(rendered)).To(Equal(golden(t, "names.yaml", rendered)))
}

// TestUpstreamsThatLookAlikeHaveNoObjectInCommon changes one separator of an upstream that the API accepts, and appends to it
// what names of objects may end in.
func TestUpstreamsThatLookAlikeHaveNoObjectInCommon(t *testing.T) {
	property := func(one upstream, seed uint64) bool {
		random := rand.New(rand.NewSource(int64(seed)))
		names := objectNames(t, string(one))
		for _, other := range one.lookAlikes(random) {
			if other == string(one) {
				continue
			}
			for name := range objectNames(t, other) {
				if names[name] {
					t.Logf("%s and %s both have %s", one, other, name)
					return false
				}
			}
		}
		return true
	}
	NewWithT(t).Expect(quick.Check(property, &quick.Config{MaxCount: 400})).To(Succeed())
}

func TestNoCacheHasTheNamesOfNodeSync(t *testing.T) {
	g := NewWithT(t)
	taken := map[string]bool{}
	for _, object := range nodeSync("kube-system", "a") {
		taken[object.GetLabels()[addonsv1.InstanceLabel]] = true
	}
	g.Expect(taken).To(HaveLen(1))
	g.Expect(taken).NotTo(HaveKey(manifests.ServiceName("cache.node.sync")))
	g.Expect(manifests.ServiceName("cache.node.sync")).To(HavePrefix("registry-cache-node-sync--"))
}

func TestClaimsOfLookAlikesAreToldApart(t *testing.T) {
	for claim, want := range map[string]int{
		"store-registry-a-io-0": 0, "store-registry-a-io-15": 15, "store-registry-a-io-0-0": -1, "store-registry-a-io-": -1,
		"store-registry-a-io--1": -1, "other-registry-a-io-0": -1, "store-registry-a-io--5e1aa3d2-0": -1, "registry-a-io-0": -1,
	} {
		ordinal, ok := manifests.ClaimOrdinal(claim, "registry-a-io")
		g := NewWithT(t)
		g.Expect(ok).To(Equal(want >= 0), claim)
		if ok {
			g.Expect(ordinal).To(Equal(want), claim)
		}
	}
}

// upstream is what the API accepts: DNS labels of any length up to 63, 253 characters in all, and perhaps a port.
type upstream string

// Generate implements quick.Generator.
func (upstream) Generate(random *rand.Rand, _ int) reflect.Value {
	made := dnsLabel(random)
	for range random.Intn(5) {
		if next := made + "." + dnsLabel(random); len(next) <= 253 {
			made = next
		}
	}
	if random.Intn(2) == 0 {
		made += ":" + strconv.Itoa(1+random.Intn(65535))
	}
	return reflect.ValueOf(upstream(made))
}

func dnsLabel(random *rand.Rand) string {
	const ends, inner = "abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnopqrstuvwxyz0123456789-"
	length := 1 + random.Intn(4)
	if random.Intn(8) == 0 {
		length = 1 + random.Intn(63)
	}
	label := []byte{ends[random.Intn(len(ends))]}
	for len(label) < length-1 {
		label = append(label, inner[random.Intn(len(inner))])
	}
	return string(append(label, ends[random.Intn(len(ends))]))[:max(1, length)]
}

// lookAlikes differ from an upstream in one separator, or have it as their beginning. Some of them are none, which is no harm.
func (u upstream) lookAlikes(random *rand.Rand) []string {
	others := []string{string(u) + ".tls", string(u) + ".0", string(u) + "-0", string(u) + ".io", "store." + string(u)}
	var separators []int
	for i, c := range u {
		if strings.ContainsRune(".-:", c) {
			separators = append(separators, i)
		}
	}
	if len(separators) > 0 {
		at := separators[random.Intn(len(separators))]
		for _, separator := range []string{".", "-", ":", "--", "-.", ""} {
			others = append(others, string(u[:at])+separator+string(u[at+1:]))
		}
	}
	return others
}

// objectNames are the kinds and names of all objects of a cache, and of what the StatefulSet controller makes of them.
func objectNames(t *testing.T, upstream string) map[string]bool {
	t.Helper()
	name, names := manifests.ServiceName(upstream), map[string]bool{}
	for _, object := range objects(t, with(func(v *manifests.Values) { v.Upstream, v.Name, v.Replicas = upstream, name, 2 })) {
		names[fmt.Sprintf("%T %s", object, object.GetName())] = true
		names["label "+object.GetLabels()[addonsv1.InstanceLabel]] = true
	}
	for ordinal := range 2 {
		names[fmt.Sprintf("Pod %s-%d", name, ordinal)] = true
		names[fmt.Sprintf("PersistentVolumeClaim store-%s-%d", name, ordinal)] = true
	}
	return names
}

func TestServiceNamesAreLabelsAndNeverMeet(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewSource(1))
	upstreams := map[string]string{}
	for range 100_000 {
		upstream := randomUpstream(random)
		name := manifests.ServiceName(upstream)
		if other, taken := upstreams[name]; taken && other != upstream {
			g.Expect(upstream).To(Equal(other), name)
		}
		upstreams[name] = upstream
		if errs := validation.IsDNS1035Label(name); len(errs) > 0 || len(name) > 52 {
			g.Expect(errs).To(BeEmpty(), name)
			g.Expect(len(name)).To(BeNumerically("<=", 52), name)
		}
	}
}

// randomUpstream is short and of few letters, so that those that differ in a separator only turn up often.
func randomUpstream(random *rand.Rand) string {
	const letters = "ab0"
	separators := []string{".", "-", "--", ""}
	upstream := string(letters[random.Intn(len(letters))])
	length := random.Intn(6)
	if random.Intn(4) == 0 {
		length = 20 + random.Intn(200)
	}
	for range length {
		upstream += separators[random.Intn(len(separators))] + string(letters[random.Intn(len(letters))])
	}
	if random.Intn(4) == 0 {
		upstream += ":" + string("123"[random.Intn(3)]) + string("05"[random.Intn(2)])
	}
	return upstream
}

func FuzzServiceNameIsALabel(f *testing.F) {
	for _, seed := range []string{"docker.io", "a-b.c:5000", "", "-", "a..b", "ü.example", strings.Repeat("a.", 130)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, upstream string) {
		name := manifests.ServiceName(upstream)
		g := NewWithT(t)
		g.Expect(validation.IsDNS1035Label(name)).To(BeEmpty(), name)
		g.Expect(len(name)).To(BeNumerically("<=", 52), name)
	})
}

func FuzzDifferentUpstreamsHaveDifferentNames(f *testing.F) {
	for _, pair := range [][2]string{
		{"a.io:5000", "a.io-5000"}, {"a-b.io", "a.b.io"}, {"a.b", "a--b"}, {"cache.node.sync", "cache-node-sync"},
		{strings.Repeat("a", 41) + ".io", strings.Repeat("a", 42) + ".io"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		if one != other {
			NewWithT(t).Expect(manifests.ServiceName(one)).NotTo(Equal(manifests.ServiceName(other)))
		}
	})
}

func TestRemoteURLDefaults(t *testing.T) {
	tests := map[string]struct {
		cache addonsv1.Cache
		want  string
	}{
		"Docker Hub has another host": {addonsv1.Cache{Upstream: "docker.io"}, "https://registry-1.docker.io"},
		"https and the upstream":      {addonsv1.Cache{Upstream: "quay.io:443"}, "https://quay.io:443"},
		"what the spec says":          {addonsv1.Cache{Upstream: "docker.io", RemoteURL: "http://a"}, "http://a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(manifests.RemoteURL(test.cache)).To(Equal(test.want))
		})
	}
}
