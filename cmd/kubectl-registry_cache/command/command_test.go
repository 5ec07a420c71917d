package command

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/counters"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/doctor"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/overview"
	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
)

const (
	root = "../../.."
	page = "docs/kubectl.md"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what is printed with a file, and makes sure that the documentation shows it so.
func golden(t *testing.T, name, printed string) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join("testdata", name+".golden.txt")
	if *update {
		g.Expect(os.WriteFile(file, []byte(printed), 0o600)).To(Succeed())
		return
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(printed).To(Equal(string(want)))
	shown, err := os.ReadFile(filepath.Join(root, page))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(shown)).To(ContainSubstring("\n"+printed), "%s shows %s", page, name)
}

func newPlugin() (*plugin, *bytes.Buffer) {
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	return &plugin{IOStreams: streams}, out
}

func TestStatusIsATable(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	rows := []overview.Row{
		{
			Namespace: "team-a", Name: "my-cluster", Ready: "True", Upstreams: []string{"docker.io", "quay.io"}, Caches: 2, CachesReady: 2, Nodes: new(int32(5)), NodesConfigured: new(int32(5)),
			InUse: new(2), InUseKnown: new(2), HitRatio: new(0.93), SavedBytes: new(int64(48 << 30)), Created: metav1.Time{Time: now.Add(-40 * 24 * time.Hour)},
		},
		{
			Namespace: "team-a", Name: "staging", Ready: "False", Upstreams: []string{"docker.io"}, Caches: 1, CachesReady: 1, Nodes: new(int32(3)), NodesConfigured: new(int32(2)),
			InUse: new(1), InUseKnown: new(1), HitRatio: new(0.5), SavedBytes: new(int64(900 << 20)), Created: metav1.Time{Time: now.Add(-3 * time.Hour)},
			Condition: "NodesConfigured", Message: "2 of 3 nodes are configured:\nstaging-md-0-x7k2p: docker.io: /etc/containerd/certs.d/docker.io/hosts.toml is not ours, and some more",
		},
		{Namespace: "team-b", Name: "new", Ready: "Unknown", Paused: true, Upstreams: []string{"docker.io"}, Caches: 1, Created: metav1.Time{Time: now.Add(-time.Minute)}, Message: "no manager has looked at it"},
	}
	p, out := newPlugin()
	NewWithT(t).Expect(p.printStatus(rows, true, false, now)).To(Succeed())
	golden(t, "status", out.String())
	out.Reset()
	NewWithT(t).Expect(p.printStatus(rows[:1], false, true, now)).To(Succeed())
	golden(t, "status-wide", out.String())
}

func TestSavingsAreATable(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	since := metav1.Time{Time: now.Add(-9 * 24 * time.Hour)}
	docker := counters.Counts{ServedBytes: 53 << 30, FetchedBytes: 5 << 30, Requests: 4210, Hits: 3800, Coalesced: 150, UpstreamRequests: new(int64(700))}
	quay := counters.Counts{ServedBytes: 100 << 20, FetchedBytes: 100 << 20, Requests: 12}
	savings := counters.Savings{Total: docker.Add(quay), Caches: []counters.Cache{
		{Upstream: "docker.io", Since: &since, Pods: 2, Answered: 1, Counts: docker}, {Upstream: "quay.io", Pods: 1, Answered: 1, Counts: quay},
	}}
	p, out := newPlugin()
	NewWithT(t).Expect(p.printSavings(savings, now)).To(Succeed())
	golden(t, "savings", out.String())
}

func TestSavingsOfACacheThatDidNotAnswerAreUnknown(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	since := &metav1.Time{Time: now.Add(-time.Hour)}
	savings := counters.Savings{Caches: []counters.Cache{
		{Upstream: "silent", Since: since, Pods: 2}, {Upstream: "idle", Since: since, Pods: 1, Answered: 1}, {Upstream: "of-prometheus", Since: since},
	}}
	p, out := newPlugin()
	g.Expect(p.printSavings(savings, now)).To(Succeed())
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	g.Expect(lines[1:4]).To(Equal([]string{"silent - - - - - - - -", "idle 0 B 0 B 0 B - 0 - - 60m", "of-prometheus 0 B 0 B 0 B - 0 - - 60m"}))

	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}}
	out.Reset()
	g.Expect(printObject(p.Out, outputJSON, viewOf(rc, savings))).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`"upstream": "silent",\s+"since": "[^"]+",\s+"pods": 2,\s+"answered": 0,`))
}

// TestRemediesCallKubectlForTheSameCluster as the flags chose it.
func TestRemediesCallKubectlForTheSameCluster(t *testing.T) {
	g := NewWithT(t)
	p := &plugin{rules: &clientcmd.ClientConfigLoadingRules{}, overrides: &clientcmd.ConfigOverrides{}}
	g.Expect(p.kubectl()).To(Equal("kubectl"))
	p.rules.ExplicitPath, p.overrides.CurrentContext = "/tmp/mgmt", "prod"
	g.Expect(p.kubectl()).To(Equal("kubectl --kubeconfig /tmp/mgmt --context prod"))
}

// TestDoctorHasALineForEachLink prints what the tests of package doctor found.
func TestDoctorHasALineForEachLink(t *testing.T) {
	for _, name := range []string{"healthy", "conflict"} {
		g := NewWithT(t)
		content, err := os.ReadFile(filepath.Join("..", "doctor", "testdata", name+".golden.json"))
		g.Expect(err).NotTo(HaveOccurred())
		report := doctor.Report{}
		g.Expect(json.Unmarshal(content, &report)).To(Succeed())
		p, _ := newPlugin()
		text := ""
		for _, f := range report.Links {
			text += p.findingLines(f)
		}
		golden(t, "doctor-"+name, text)
	}
}

func TestNoTerminalIsSteeredByWhatAWorkloadClusterTells(t *testing.T) {
	p, _ := newPlugin()
	NewWithT(t).Expect(p.findingLines(doctor.Finding{Link: "endpoints", State: doctor.Broken, Message: "a\x1b[2Jb\rc\nd", Remedy: "e\x1b[0m"})).
		To(And(ContainSubstring("a[2Jbc\n"+strings.Repeat(" ", 31)+"d\n"), Not(ContainSubstring("\x1b"))))
}

const (
	manifests = `apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: c1, namespace: ns}
spec:
  clusterNetwork: {services: {cidrBlocks: [10.128.0.0/16]}}
---
apiVersion: addons.cluster.x-k8s.io/v1alpha1
kind: RegistryCache
metadata: {name: c1, namespace: ns}
spec:
  caches: [{upstream: docker.io}]
`
	userData = "#cloud-config\nruncmd:\n- kubeadm join\n"
)

func run(in string, args ...string) (code int, out, messages string) {
	streams, input, output, errors := genericiooptions.NewTestIOStreams()
	input.WriteString(in)
	code = Run(append([]string{"/usr/bin/kubectl-registry_cache"}, args...), streams)
	return code, output.String(), errors.String()
}

func TestPreview(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	NewWithT(t).Expect(os.WriteFile(file, []byte(manifests), 0o600)).To(Succeed())
	data := filepath.Join(t.TempDir(), "user-data")
	NewWithT(t).Expect(os.WriteFile(data, []byte(userData), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		in            string
		args          []string
		code          int
		out, messages string
	}{
		"the result":              {userData, []string{"-f", file}, exitOK, "#cloud-config\n", "cloud-config: injected, 37 bytes before"},
		"what changes":            {"", []string{"-f", file, "--data", data, "--diff"}, exitOK, "--- before\n+++ after\n@@ ", "injected"},
		"data that is passed on":  {"\x00", []string{"-f", file, "--diff"}, exitPassedThrough, "", "passed through unchanged"},
		"no file and no name":     {"", nil, exitFailed, "", `CLUSTER "" and --filename "": accepted is one of both`},
		"a file that is not read": {"", []string{"-f", "/nowhere"}, exitFailed, "", "/nowhere"},
		"data that is not read":   {"", []string{"-f", file, "--data", "/nowhere"}, exitFailed, "", "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			code, out, messages := run(tc.in, append([]string{"preview"}, tc.args...)...)
			g.Expect(code).To(Equal(tc.code), messages)
			g.Expect(out).To(HavePrefix(tc.out))
			g.Expect(messages).To(ContainSubstring(tc.messages))
		})
	}
}

func TestWrongUsageSaysWhatIsAccepted(t *testing.T) {
	for want, args := range map[string][]string{
		`--output: "xml" is not known; accepted are wide, json, yaml, or nothing`:     {"status", "-o", "xml"},
		`--all-namespaces with the name "c": accepted is one of both`:                 {"status", "c", "-A"},
		`--workload-kubeconfig "f" without the name of a Cluster`:                     {"status", "-A", "-o", "wide", "--workload-kubeconfig", "f"},
		"accepted is one with it, as in status my-cluster --workload-kubeconfig FILE": {"status", "--workload-kubeconfig", "f"},
		`--since: "yesterday" is not a time; accepted are values such as 30s, 24h or`: {"savings", "c", "--since", "yesterday"},
		"accepted is --since with --prometheus URL":                                   {"savings", "c", "--since", "24h"},
		"--prometheus: accepted is with --since":                                      {"savings", "c", "--prometheus", "http://x"},
		"--since and --watch: accepted is one of both":                                {"savings", "c", "--since", "1h", "--watch", "1m"},
		"accepts 1 arg(s), received 0":                                                {"doctor"},
		`--output: "wide" is not known; accepted are json, yaml, or nothing`:          {"doctor", "c", "-o", "wide"},
		"reading the kubeconfig":                                                      {"status", "--kubeconfig", "/nowhere"},
		`unknown command "staus"`:                                                     {"staus"},
		"Did you mean this?\n\tstatus\n":                                              {"staus"},
	} {
		t.Run(want, func(t *testing.T) {
			g := NewWithT(t)
			code, out, messages := run("", args...)
			g.Expect(code).To(Equal(exitFailed))
			g.Expect(out).To(BeEmpty())
			g.Expect(messages).To(And(HavePrefix("Error: "), ContainSubstring(want)))
		})
	}
}

func TestHelpIsInTheWordsOfWhoCalls(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/bin/kubectl-registry_cache":    "kubectl registry-cache doctor CLUSTER [flags]",
		"/usr/bin/clusterctl-registry_cache": "clusterctl registry-cache doctor CLUSTER [flags]",
		"./plugin":                           "kubectl registry-cache doctor CLUSTER [flags]",
	} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		NewWithT(t).Expect(Run([]string{program, "doctor", "--help"}, streams)).To(Equal(exitOK))
		NewWithT(t).Expect(out.String()).To(ContainSubstring(want))
	}
}

func commands() []*cobra.Command {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	return New(streams, "kubectl registry-cache").Commands()
}

// TestDocumentationTellsOfEachCommandAndFlag looks at the help of each.
func TestDocumentationTellsOfEachCommandAndFlag(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile(filepath.Join(root, page))
	g.Expect(err).NotTo(HaveOccurred())
	looked := 0
	for _, c := range commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		g.Expect(string(content)).To(ContainSubstring("kubectl registry-cache "+c.Name()), c.Name())
		help := c.UsageString()
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			looked++
			g.Expect(help).To(ContainSubstring("--"+f.Name), c.Name())
			g.Expect(string(content)).To(ContainSubstring("`--"+f.Name+"`"), "%s of %s", f.Name, c.Name())
		})
	}
	g.Expect(looked).To(BeNumerically(">", 12))
}

// TestDocumentationUsesCommandsAndFlagsThatExist looks at what all pages tell to type.
func TestDocumentationUsesCommandsAndFlagsThatExist(t *testing.T) {
	g := NewWithT(t)
	pages, err := docs.Read(root)
	g.Expect(err).NotTo(HaveOccurred())
	looked := 0
	for _, p := range pages {
		for _, c := range p.Commands() {
			words := strings.Fields(c.Text)
			i := slices.Index(words, "registry-cache")
			if i < 1 || (words[i-1] != "kubectl" && words[i-1] != "clusterctl") {
				continue
			}
			looked++
			found := slices.IndexFunc(commands(), func(c *cobra.Command) bool { return c.Name() == words[i+1] })
			g.Expect(found).To(BeNumerically(">=", 0), p.Where(c.Line))
			command := commands()[found]
			for _, word := range words[i+2:] {
				if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
					name, _, _ = strings.Cut(name, "=")
					g.Expect(command.Flags().Lookup(name) != nil || command.InheritedFlags().Lookup(name) != nil).To(BeTrue(), "%s: %s", p.Where(c.Line), word)
				}
			}
		}
	}
	g.Expect(looked).To(BeNumerically(">", 5))
}

func TestSavingsForProgramsAreFlat(t *testing.T) {
	g := NewWithT(t)
	rc := &v1alpha1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}}
	counts := counters.Counts{ServedBytes: 100, FetchedBytes: 40, Requests: 10, Hits: 5, UpstreamRequests: new(int64(4))}
	p, out := newPlugin()
	g.Expect(printObject(p.Out, outputJSON, viewOf(rc, counters.Savings{Total: counts, Caches: []counters.Cache{{Upstream: "docker.io", Pods: 2, Answered: 2, Counts: counts}}}))).To(Succeed())
	const numbers = `"servedBytes":100,"fetchedBytes":40,"requests":10,"hits":5,"coalesced":0,"upstreamRequests":4,"savedBytes":60,"savedRequests":6,"hitRatio":0.5`
	g.Expect(out.String()).To(MatchJSON(`{"namespace":"ns","cluster":"c","caches":[{"upstream":"docker.io","pods":2,"answered":2,` + numbers + `}],"total":{` + numbers + `}}`))
	out.Reset()
	g.Expect(printObject(p.Out, outputYAML, map[string]any{"clusters": []overview.Row{}})).To(Succeed())
	g.Expect(out.String()).To(Equal("clusters: []\n"))
}

// fleet is a management cluster with two RegistryCaches. It counts who wants to know the way to a workload cluster.
func fleet(t *testing.T) (kubeconfig string, kubeconfigs *atomic.Int32) {
	t.Helper()
	kubeconfigs = &atomic.Int32{}
	const version = `{"groupVersion":"addons.cluster.x-k8s.io/v1alpha1","version":"v1alpha1"}`
	answers := map[string]string{
		"/api":  `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"addons.cluster.x-k8s.io","versions":[` + version + `],"preferredVersion":` + version + `}]}`,
		"/api/v1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[
			{"name":"secrets","singularName":"secret","namespaced":true,"kind":"Secret","verbs":["get"]}]}`,
		"/apis/addons.cluster.x-k8s.io/v1alpha1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"addons.cluster.x-k8s.io/v1alpha1","resources":[
			{"name":"registrycaches","singularName":"registrycache","namespaced":true,"kind":"RegistryCache","verbs":["list"]}]}`,
		"/apis/addons.cluster.x-k8s.io/v1alpha1/registrycaches": `{"apiVersion":"addons.cluster.x-k8s.io/v1alpha1","kind":"RegistryCacheList","metadata":{},"items":[` + item("a") + "," + item("b") + `]}`,
	}
	for _, name := range []string{"a", "b"} {
		answers["/apis/addons.cluster.x-k8s.io/v1alpha1/namespaces/ns/registrycaches/"+name] = item(name)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "-kubeconfig") {
			kubeconfigs.Add(1)
		}
		answer, known := answers[r.URL.Path]
		if !known {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return kubeconfigOf(t, server.URL), kubeconfigs
}

// kubeconfigOf is a file by which an API server is reached.
func kubeconfigOf(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	NewWithT(t).Expect(os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x}}]\nclusters: [{name: x, cluster: {server: '"+url+"'}}]\n"), 0o600)).To(Succeed())
	return file
}

// troubled is a workload cluster whose API server tells what it has, and refuses all else in words that would steer a terminal. It counts how often
// Pods were asked by way of it, and all else.
func troubled(t *testing.T) (kubeconfig string, pods, others *atomic.Int32) {
	t.Helper()
	pods, others = &atomic.Int32{}, &atomic.Int32{}
	answers := map[string]string{
		"/api":  `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[
			{"name":"namespaces","singularName":"namespace","namespaced":false,"kind":"Namespace","verbs":["get"]}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/pods/") {
			pods.Add(1)
		} else {
			others.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		if answer, known := answers[r.URL.Path]; known {
			_, _ = io.WriteString(w, answer)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"a\u001b[2Jb\rc\nd\u009be","code":503}`)
	}))
	t.Cleanup(server.Close)
	return kubeconfigOf(t, server.URL), pods, others
}

func item(name string) string {
	return `{"apiVersion":"addons.cluster.x-k8s.io/v1alpha1","kind":"RegistryCache","metadata":{"namespace":"ns","name":"` + name + `"},"spec":{"caches":[{"upstream":"docker.io"}]}}`
}

func TestStatusAsksWorkloadClustersOnlyIfItIsTold(t *testing.T) {
	kubeconfig, kubeconfigs := fleet(t)
	for args, asked := range map[string]int32{"": 0, "-o json": 0, "-o yaml": 0, "-o wide": 2, "-o json --savings": 2} {
		t.Run(args, func(t *testing.T) {
			g := NewWithT(t)
			kubeconfigs.Store(0)
			code, out, messages := run("", append([]string{"status", "-A", "--kubeconfig", kubeconfig}, strings.Fields(args)...)...)
			g.Expect(code).To(Equal(exitOK), messages)
			g.Expect(out).To(ContainSubstring("docker.io"))
			g.Expect(kubeconfigs.Load()).To(Equal(asked), messages)
		})
	}
}

func TestAnotherKubeconfigIsThatOfOneCluster(t *testing.T) {
	g := NewWithT(t)
	management, kubeconfigs := fleet(t)
	workload, _, asked := troubled(t)
	code, out, messages := run("", "status", "-A", "--savings", "--kubeconfig", management, "--workload-kubeconfig", workload)
	g.Expect(code).To(Equal(exitFailed))
	g.Expect(out).To(BeEmpty())
	g.Expect(messages).To(ContainSubstring("--workload-kubeconfig"))
	g.Expect(asked.Load()).To(BeZero())

	code, out, messages = run("", "status", "a", "-n", "ns", "--savings", "--kubeconfig", management, "--workload-kubeconfig", workload)
	g.Expect(code).To(Equal(exitOK), messages)
	g.Expect(out).To(ContainSubstring("docker.io"))
	g.Expect(messages).To(ContainSubstring("Warning: ns/a: "))
	g.Expect(asked.Load()).To(BeNumerically(">", 0))
	g.Expect(kubeconfigs.Load()).To(BeZero())
}

func TestNoTerminalIsSteeredByATable(t *testing.T) {
	g := NewWithT(t)
	p, out := newPlugin()
	rows := []overview.Row{{Name: "c", Ready: "False", Message: "node a\x1b[2J\u009b1mb says no"}}
	g.Expect(p.printStatus(rows, false, false, time.Now())).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("node a[2J1mb says no\n"))
}

// TestSavingsAskNoPodOfAClusterThatDoesNotAnswer is about time: each Pod would be waited for.
func TestSavingsAskNoPodOfAClusterThatDoesNotAnswer(t *testing.T) {
	g := NewWithT(t)
	management, _ := fleet(t)
	workload, pods, others := troubled(t)
	code, out, messages := run("", "savings", "a", "-n", "ns", "--kubeconfig", management, "--workload-kubeconfig", workload)
	g.Expect(code).To(Equal(exitFailed))
	g.Expect(out).To(BeEmpty())
	g.Expect(messages).To(HavePrefix("Error: asking the workload cluster of Cluster ns/a: "))
	g.Expect(others.Load()).To(BeNumerically(">", 0))
	g.Expect(pods.Load()).To(BeZero())
}

func TestNoTerminalIsSteeredByErrorsAndWarnings(t *testing.T) {
	management, _ := fleet(t)
	workload, _, _ := troubled(t)
	for start, args := range map[string][]string{"Error: ": {"savings", "a"}, "Warning: ": {"status", "a", "--savings"}} {
		t.Run(start, func(t *testing.T) {
			_, _, messages := run("", append(args, "-n", "ns", "--kubeconfig", management, "--workload-kubeconfig", workload)...)
			NewWithT(t).Expect(messages).To(And(HavePrefix(start), HaveSuffix("a[2Jbc\nde\n"), Not(ContainSubstring("\x1b"))))
		})
	}
}
