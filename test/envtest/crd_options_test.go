package envtest_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cacheOf is a spec with one cache that has this field.
func cacheOf(field string) string { return "caches: [{upstream: quay.io, " + field + "}]" }

// mirrorOf is a spec with one mirror of these hosts.
func mirrorOf(hosts string) string { return "mirrors: [{upstream: quay.io, hosts: [" + hosts + "]}]" }

// TestRejectedOptionsNameFieldValueAndWhatIsAccepted has a row for each rule of the reference and each of ours that
// TestRejectedSpecsNameFieldValueAndWhatIsAccepted has not.
func TestRejectedOptionsNameFieldValueAndWhatIsAccepted(t *testing.T) {
	const host, url, proxy = "is not host[:port]", "is not the URL of a registry", "is not the URL of a proxy"
	namespace := env.CreateNamespace(t)
	for name, tc := range map[string]struct {
		spec  string
		wants []string
	}{
		"an upstream of IPv6":          {`caches: [{upstream: "[fd00::1]:5000"}]`, []string{"caches[0].upstream", "[fd00::1]:5000 " + host}},
		"an upstream of bare IPv6":     {`caches: [{upstream: "fd00::1"}]`, []string{"caches[0].upstream", "fd00::1 " + host}},
		"an upstream with underscore":  {`caches: [{upstream: my_registry.io}]`, []string{"caches[0].upstream", "my_registry.io " + host, "lower-case DNS name"}},
		"an upstream that ends in -":   {`caches: [{upstream: quay.io-}]`, []string{"caches[0].upstream", "quay.io- " + host}},
		"an upstream with user":        {`caches: [{upstream: me@quay.io}]`, []string{"caches[0].upstream", "me@quay.io " + host}},
		"an upstream with space":       {`caches: [{upstream: "quay.io "}]`, []string{"caches[0].upstream", "quay.io  " + host}},
		"an upstream without its port": {`caches: [{upstream: "quay.io:"}]`, []string{"caches[0].upstream", "quay.io: " + host, "port from 1 to 65535"}},
		"an upstream, port in words":   {`caches: [{upstream: "quay.io:https"}]`, []string{"caches[0].upstream", "quay.io:https " + host}},
		"an upstream, port below 0":    {`caches: [{upstream: "quay.io:-1"}]`, []string{"caches[0].upstream", "quay.io:-1 " + host}},
		"an upstream of 254 letters":   {"caches: [{upstream: " + strings.Repeat("a.", 126) + "aa}]", []string{"caches[0].upstream", host}},
		"an upstream of 260 letters":   {"caches: [{upstream: " + strings.Repeat("a.", 129) + "aa}]", []string{"caches[0].upstream", "may not be more than 259 bytes"}},

		"a remoteURL with query":    {cacheOf(`remoteURL: "https://quay.io?a=b"`), []string{"caches[0].remoteURL", "https://quay.io?a=b " + url, "query"}},
		"a remoteURL with fragment": {cacheOf(`remoteURL: "https://quay.io#a"`), []string{"caches[0].remoteURL", "https://quay.io#a " + url}},
		"a remoteURL of IPv6":       {cacheOf(`remoteURL: "https://[fd00::1]"`), []string{"caches[0].remoteURL", "https://[fd00::1] " + url}},
		"a remoteURL, password":     {cacheOf(`remoteURL: "https://a:b@quay.io"`), []string{"caches[0].remoteURL", url, "without user info"}},
		"an empty remoteURL":        {cacheOf(`remoteURL: ""`), []string{"caches[0].remoteURL", "should be at least 1 chars long"}},

		"a watermark too low":    {cacheOf("garbageCollection: {highWatermarkPercent: 9}"), []string{"garbageCollection.highWatermarkPercent", "9", "greater than or equal to 10"}},
		"a watermark too high":   {cacheOf("garbageCollection: {highWatermarkPercent: 96}"), []string{"garbageCollection.highWatermarkPercent", "96", "less than or equal to 95"}},
		"revalidation in words":  {cacheOf("revalidateAfter: never"), []string{"caches[0].revalidateAfter", "never is not a duration", "such as 5m"}},
		"negative revalidation":  {cacheOf("revalidateAfter: -5m"), []string{"caches[0].revalidateAfter", "-5m is not a duration of 0s or more"}},
		"revalidation in ms":     {cacheOf("revalidateAfter: 100ms"), []string{"caches[0].revalidateAfter", "100ms is not a duration", "whole hours, minutes and seconds"}},
		"an empty storage class": {cacheOf(`volume: {storageClassName: ""}`), []string{"volume.storageClassName", "should be at least 1 chars long"}},

		"credentials without name":   {cacheOf("credentialsSecretRef: {}"), []string{"credentialsSecretRef.name", "Required value"}},
		"credentials, empty name":    {cacheOf(`credentialsSecretRef: {name: ""}`), []string{"credentialsSecretRef.name", "should be at least 1 chars long"}},
		"credentials, no such name":  {cacheOf("credentialsSecretRef: {name: Docker_Hub}"), []string{"credentialsSecretRef.name", "Docker_Hub is not the name of a Secret", "such as docker-hub"}},
		"a CA of no such name":       {cacheOf("caBundleSecretRef: {name: a/b}"), []string{"caBundleSecretRef.name", "a/b is not the name of a Secret"}},
		"a proxy for nothing":        {cacheOf("proxy: {noProxy: quay.io}"), []string{"caches[0].proxy", "neither httpProxy nor httpsProxy given", "such as httpsProxy"}},
		"an empty proxy":             {cacheOf("proxy: {}"), []string{"caches[0].proxy", "neither httpProxy nor httpsProxy given"}},
		"a proxy without scheme":     {cacheOf(`proxy: {httpProxy: "proxy:3128"}`), []string{"proxy.httpProxy", "proxy:3128 " + proxy, "http:// or https://"}},
		"a proxy of socks":           {cacheOf(`proxy: {httpsProxy: "socks5://proxy:1080"}`), []string{"proxy.httpsProxy", "socks5://proxy:1080 " + proxy}},
		"a proxy with credentials":   {cacheOf(`proxy: {httpsProxy: "http://me:pw@proxy:3128"}`), []string{"proxy.httpsProxy", proxy}},
		"a proxy with path":          {cacheOf(`proxy: {httpProxy: "http://proxy/a"}`), []string{"proxy.httpProxy", "http://proxy/a " + proxy}},
		"a proxy with query":         {cacheOf(`proxy: {httpProxy: "http://proxy?a"}`), []string{"proxy.httpProxy", "http://proxy?a " + proxy}},
		"noProxy with spaces":        {cacheOf(`proxy: {httpProxy: "http://proxy", noProxy: "a, b"}`), []string{"proxy.noProxy", "a, b is not usable", "without spaces"}},
		"TLS of no such mode":        {cacheOf("tls: {mode: Optional}"), []string{"tls.mode", `"Optional"`, `"Enabled"`, `"Disabled"`}},
		"no replicas":                {cacheOf("replicas: 0"), []string{"caches[0].replicas", "greater than or equal to 1"}},
		"17 replicas":                {cacheOf("replicas: 17"), []string{"caches[0].replicas", "less than or equal to 16"}},
		"half a replica":             {cacheOf("replicas: 1.5"), []string{"caches[0].replicas", "must be of type integer"}},
		"an empty image":             {cacheOf(`image: ""`), []string{"caches[0].image", "should be at least 1 chars long"}},
		"an image with scheme":       {cacheOf(`image: "https://registry:3"`), []string{"caches[0].image", "https://registry:3 is not the reference of an image", "without a scheme"}},
		"an image with space":        {cacheOf(`image: "registry: 3"`), []string{"caches[0].image", "registry: 3 is not the reference of an image", "such as registry.example.com/registry:3"}},
		"an image with empty tag":    {cacheOf(`image: "registry:"`), []string{"caches[0].image", "registry: is not the reference of an image"}},
		"an image of a short digest": {cacheOf(`image: "registry@sha256:abc"`), []string{"caches[0].image", "registry@sha256:abc is not the reference of an image"}},
		"resources in words":         {cacheOf("resources: {requests: {cpu: much}}"), []string{"resources.requests.cpu", "much"}},
		"33 node labels":             {cacheOf("nodeSelector: {" + numbered(33, `l%d: ""`) + "}"), []string{"caches[0].nodeSelector", "must have at most 32 items"}},
		"33 tolerations":             {cacheOf("tolerations: [" + numbered(33, "{key: k%d}") + "]"), []string{"caches[0].tolerations", "must have at most 32 items"}},

		"no hosts":               {"mirrors: [{upstream: quay.io, hosts: []}]", []string{"mirrors[0].hosts", "should have at least 1 items"}},
		"hosts not given":        {"mirrors: [{upstream: quay.io}]", []string{"mirrors[0].hosts", "Required value"}},
		"nine hosts":             {mirrorOf(numbered(9, `{host: "https://m%d"}`)), []string{"mirrors[0].hosts", "must have at most 8 items"}},
		"33 mirrors":             {"mirrors: [" + numbered(33, `{upstream: h%d.io, hosts: [{host: "https://m"}]}`) + "]", []string{"spec.mirrors", "must have at most 32 items"}},
		"two mirrors of one":     {`mirrors: [{upstream: a.io, hosts: [{host: "https://m"}]}, {upstream: a.io, hosts: [{host: "https://n"}]}]`, []string{"spec.mirrors[1]", "Duplicate value", "a.io"}},
		"a mirror of a URL":      {`mirrors: [{upstream: "https://a.io", hosts: [{host: "https://m"}]}]`, []string{"mirrors[0].upstream", "https://a.io " + host}},
		"a mirror, port 0":       {`mirrors: [{upstream: "a.io:0", hosts: [{host: "https://m"}]}]`, []string{"mirrors[0].upstream", "a.io:0 " + host}},
		"a host without scheme":  {mirrorOf("{host: m.example.com}"), []string{"hosts[0].host", "m.example.com is not the URL of a mirror", "http:// or https://"}},
		"a host of ftp":          {mirrorOf(`{host: "ftp://m"}`), []string{"hosts[0].host", "ftp://m is not the URL of a mirror"}},
		"a host with user":       {mirrorOf(`{host: "https://me@m"}`), []string{"hosts[0].host", "https://me@m is not the URL of a mirror", "without user info"}},
		"a host with query":      {mirrorOf(`{host: "https://m?a"}`), []string{"hosts[0].host", "https://m?a is not the URL of a mirror"}},
		"a host with fragment":   {mirrorOf(`{host: "https://m#a"}`), []string{"hosts[0].host", "https://m#a is not the URL of a mirror"}},
		"a host, path of dot":    {mirrorOf(`{host: "https://m/./a"}`), []string{"hosts[0].host", "https://m/./a is not the URL of a mirror", ". and .. in the path"}},
		"a host, path of dots":   {mirrorOf(`{host: "https://m/a/.."}`), []string{"hosts[0].host", "https://m/a/.. is not the URL of a mirror"}},
		"a host with slash":      {mirrorOf(`{host: "https://m/"}`), []string{"hosts[0].host", "https://m/ is not the URL of a mirror", "trailing slash"}},
		"a host, bad port":       {mirrorOf(`{host: "https://m:0"}`), []string{"hosts[0].host", "https://m:0 is not the URL of a mirror"}},
		"one host twice":         {mirrorOf(`{host: "https://m"}, {host: "https://m"}`), []string{"mirrors[0].hosts[1]", "Duplicate value", "https://m"}},
		"a capability to push":   {mirrorOf(`{host: "https://m", capabilities: [push]}`), []string{"capabilities[0]", `"push"`, `"pull"`, `"resolve"`}},
		"one capability twice":   {mirrorOf(`{host: "https://m", capabilities: [pull, pull]}`), []string{"capabilities[1]", "Duplicate value"}},
		"no capability":          {mirrorOf(`{host: "https://m", capabilities: []}`), []string{"hosts[0].capabilities", "should have at least 1 items"}},
		"a mirror's CA, no name": {mirrorOf(`{host: "https://m", caBundleSecretRef: {name: A}}`), []string{"caBundleSecretRef.name", "A is not the name of a Secret"}},

		"nodes of no such kind":  {"{caches: [{upstream: quay.io}], nodes: {existing: Rollout}}", []string{"nodes.existing", `"Rollout"`, `"Configure"`, `"Ignore"`}},
		"a certsDir with slash":  {"{caches: [{upstream: quay.io}], nodes: {certsDir: /etc/certs.d/}}", []string{"nodes.certsDir", "/etc/certs.d/ is not usable", "trailing slash"}},
		"a certsDir with space":  {`{caches: [{upstream: quay.io}], nodes: {certsDir: "/etc/a b"}}`, []string{"nodes.certsDir", "/etc/a b is not usable"}},
		"a certsDir of the root": {"{caches: [{upstream: quay.io}], nodes: {certsDir: /}}", []string{"nodes.certsDir", "should be at least 2 chars long"}},
		"a namespace of 64":      {"{caches: [{upstream: quay.io}], namespace: " + strings.Repeat("a", 64) + "}", []string{"spec.namespace", "may not be more than 63 bytes"}},
		"a namespace with dot":   {"{caches: [{upstream: quay.io}], namespace: a.b}", []string{"spec.namespace", "a.b is not a namespace name"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			expectInvalid(g, env.Client.Create(t.Context(), registryCache(g, namespace, tc.spec)), tc.wants)
		})
	}
}

func TestEdgesOfOptionsThatAreAccepted(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, spec := range map[string]string{
		"the lowest watermark":       cacheOf("garbageCollection: {highWatermarkPercent: 10}"),
		"the highest watermark":      cacheOf("garbageCollection: {highWatermarkPercent: 95}"),
		"revalidation in two units":  cacheOf("revalidateAfter: 1h30m"),
		"a remoteURL of an address":  cacheOf(`remoteURL: "http://10.0.0.1:5000"`),
		"a remoteURL of one label":   cacheOf(`remoteURL: "http://registry"`),
		"both Secrets":               cacheOf("credentialsSecretRef: {name: a.b}, caBundleSecretRef: {name: ca-1}"),
		"both proxies":               cacheOf(`proxy: {httpProxy: "http://p:3128/", httpsProxy: "https://p.example.com", noProxy: "a,.b,10.0.0.0/8,*"}`),
		"no TLS":                     cacheOf("tls: {mode: Disabled}"),
		"16 replicas":                cacheOf("replicas: 16"),
		"an image with tag, digest":  cacheOf(`image: "registry.example.com:5000/a/b_c:V1.2@sha256:` + strings.Repeat("0a", 32) + `"`),
		"an image of one word":       cacheOf("image: registry"),
		"an image with a tag":        cacheOf("image: registry:3.1.1-alpine"),
		"all resources":              cacheOf(`resources: {requests: {cpu: 20m, memory: 50Mi}, limits: {memory: 1G, ephemeral-storage: 1Gi}}`),
		"labels and tolerations":     cacheOf(`nodeSelector: {a.io/b: c}, tolerations: [{operator: Exists}, {key: a, value: b, effect: NoSchedule}]`),
		"32 tolerations":             cacheOf("tolerations: [" + numbered(32, "{key: k%d, operator: Exists}") + "]"),
		"mirrors alone":              mirrorOf(`{host: "https://mirror.example.com:8443/docker.io", capabilities: [pull, resolve], overridePath: true}`),
		"hosts that differ in path":  mirrorOf(`{host: "https://m/a"}, {host: "https://m/b"}, {host: "http://m/a"}`),
		"dots inside of a path":      mirrorOf(`{host: "https://m/a..b/.c"}`),
		"a mirror's CA":              mirrorOf(`{host: "https://10.0.0.1:5000", caBundleSecretRef: {name: ca}}`),
		"a cache with a mirror":      `{caches: [{upstream: a.io}], mirrors: [{upstream: a.io, hosts: [{host: "https://m"}]}]}`,
		"32 mirrors of 8 hosts":      "mirrors: [" + numbered(32, `{upstream: h%d.io, hosts: [`+numbered(8, `{host: "https://m%d"}`)+"]}") + "]",
		"existing nodes left alone":  "{caches: [{upstream: quay.io}], nodes: {existing: Ignore}}",
		"a namespace of 63 letters":  "{caches: [{upstream: quay.io}], namespace: " + strings.Repeat("a", 63) + "}",
		"32 caches with all options": "caches:" + strings.ReplaceAll(manyCaches(32), ":65535", ":65535\n"+everything),
	} {
		t.Run(name, func(t *testing.T) { expectAccepted(t, namespace, spec) })
	}
}

// everything is the rest of a cache that uses all that validation looks at.
const everything = `  remoteURL: https://registry.example.com:5000
  volume: {size: 20Gi, storageClassName: fast}
  garbageCollection: {ttl: 24h, highWatermarkPercent: 70}
  revalidateAfter: 5m
  credentialsSecretRef: {name: credentials}
  caBundleSecretRef: {name: ca}
  proxy: {httpProxy: "http://proxy:3128", httpsProxy: "http://proxy:3128", noProxy: example.com}
  image: registry.example.com/registry:3
  replicas: 2`

func TestUpdatesOfOptions(t *testing.T) {
	namespace := env.CreateNamespace(t)
	for name, tc := range map[string]struct {
		before, after string
		wants         []string
	}{
		"a class that is given stays": {cacheOf("volume: {storageClassName: fast}"), "caches: [{upstream: quay.io}]",
			[]string{"caches[0].volume", "volume.storageClassName: the default class cannot replace fast", "immutable"}},
		"a class does not become another": {cacheOf("volume: {storageClassName: fast}"), cacheOf("volume: {storageClassName: slow}"),
			[]string{"caches[0].volume", "volume.storageClassName: slow cannot replace fast", "immutable"}},
		"an EmptyDir does not become a claim": {cacheOf("volume: {type: EmptyDir}"), "caches: [{upstream: quay.io}]",
			[]string{"caches[0].volume", "volume.type: PersistentVolumeClaim cannot replace EmptyDir"}},
		"an EmptyDir does not shrink": {cacheOf("volume: {type: EmptyDir, size: 2Gi}"), cacheOf("volume: {type: EmptyDir, size: 1Gi}"),
			[]string{"caches[0].volume", "volume.size: 1Gi is smaller than 2Gi"}},
		"a volume does not fall back to the default size": {cacheOf("volume: {size: 20Gi}"), "caches: [{upstream: quay.io}]",
			[]string{"caches[0].volume", "volume.size: 10Gi is smaller than 20Gi"}},
		"an update is validated as well": {"caches: [{upstream: quay.io}]", cacheOf("replicas: 0"), []string{"caches[0].replicas"}},
		"the last mirror stays":          {mirrorOf(`{host: "https://m"}`), "mirrors: []", []string{"neither caches nor mirrors given"}},

		"a size in another unit is the same": {"caches: [{upstream: quay.io}]", cacheOf("volume: {size: 10240Mi}"), nil},
		"credentials can change":             {cacheOf("credentialsSecretRef: {name: a}"), cacheOf("credentialsSecretRef: {name: b}"), nil},
		"credentials can go":                 {cacheOf("credentialsSecretRef: {name: a}"), "caches: [{upstream: quay.io}]", nil},
		"the CA can change":                  {cacheOf("caBundleSecretRef: {name: a}"), cacheOf("caBundleSecretRef: {name: b}"), nil},
		"the proxy can change":               {cacheOf(`proxy: {httpProxy: "http://a"}`), cacheOf(`proxy: {httpsProxy: "http://b", noProxy: c}`), nil},
		"TLS can be turned off":              {"caches: [{upstream: quay.io}]", cacheOf("tls: {mode: Disabled}"), nil},
		"TLS can be turned on":               {cacheOf("tls: {mode: Disabled}"), "caches: [{upstream: quay.io}]", nil},
		"replicas can change":                {cacheOf("replicas: 3"), cacheOf("replicas: 1"), nil},
		"the watermark can change":           {cacheOf("garbageCollection: {highWatermarkPercent: 50}"), "caches: [{upstream: quay.io}]", nil},
		"revalidation can change":            {cacheOf("revalidateAfter: 1h"), "caches: [{upstream: quay.io}]", nil},
		"the place of Pods can change":       {cacheOf("nodeSelector: {a: b}, tolerations: [{operator: Exists}]"), cacheOf("nodeSelector: {c: d}"), nil},
		"collection goes on being off":       {cacheOf("garbageCollection: {ttl: 0s}"), cacheOf("garbageCollection: {ttl: 0s, highWatermarkPercent: 50}"), nil},
		"a cache can come back otherwise":    {"caches: [{upstream: a.io}, {upstream: quay.io, volume: {type: EmptyDir}}]", "caches: [{upstream: a.io}]", nil},
		"a mirror can be added to a cache":   {"caches: [{upstream: quay.io}]", "{caches: [{upstream: quay.io}], " + mirrorOf(`{host: "https://m"}`) + "}", nil},
		"hosts can change":                   {mirrorOf(`{host: "https://m"}`), mirrorOf(`{host: "https://n", capabilities: [pull, resolve]}, {host: "https://m"}`), nil},
		"nodes can be left alone":            {"caches: [{upstream: quay.io}]", "{caches: [{upstream: quay.io}], nodes: {existing: Ignore}}", nil},
		"mirrors can replace caches":         {"caches: [{upstream: quay.io}]", mirrorOf(`{host: "https://m"}`), nil},
	} {
		t.Run(name, func(t *testing.T) { expectUpdate(t, namespace, tc.before, tc.after, tc.wants) })
	}
}

// TestMisspelledFieldsAreRefused as kubectl asks for it, which validates strictly.
func TestMisspelledFieldsAreRefused(t *testing.T) {
	namespace := env.CreateNamespace(t)
	strict := client.WithFieldValidation(env.Client, metav1.FieldValidationStrict)
	for name, tc := range map[string]struct{ spec, want string }{
		"of a cache":  {cacheOf("remoteUrl: https://quay.io"), `unknown field "spec.caches[0].remoteUrl"`},
		"of a volume": {cacheOf("volume: {storageClass: fast}"), `unknown field "spec.caches[0].volume.storageClass"`},
		"of a mirror": {mirrorOf(`{host: "https://m", skipVerify: true}`), `unknown field "spec.mirrors[0].hosts[0].skipVerify"`},
		"of the spec": {"{caches: [{upstream: quay.io}], registries: []}", `unknown field "spec.registries"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := strict.Create(t.Context(), registryCache(g, namespace, tc.spec))
			g.Expect(apierrors.IsBadRequest(err)).To(BeTrue(), "the API server answers: %v", err)
			g.Expect(err.Error()).To(ContainSubstring(tc.want))
		})
	}
}

// numbered joins n copies of a format with their numbers.
func numbered(n int, format string) string {
	copies := make([]string, 0, n)
	for i := range n {
		copies = append(copies, strings.ReplaceAll(format, "%d", fmt.Sprint(i)))
	}
	return strings.Join(copies, ", ")
}
