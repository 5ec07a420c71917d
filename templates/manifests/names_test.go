package manifests_test

import (
	"math/rand"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/validation"

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
