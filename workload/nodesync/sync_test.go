package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

const unit = "configure-containerd-registries.service"

// fakeSystemd notes what is asked of it.
type fakeSystemd struct {
	active bool
	err    error
	starts int
	wakes  int
}

func (f *fakeSystemd) Active(context.Context, string) (bool, error) { return f.active, f.err }

func (f *fakeSystemd) Start(context.Context, string) error {
	f.starts++
	f.active = true
	return f.err
}

func (f *fakeSystemd) Wake(context.Context, string) error {
	f.wakes++
	return f.err
}

// node is a directory that stands for a node.
type node struct {
	*WithT
	root    string
	systemd *fakeSystemd
	log     bytes.Buffer
	syncer  *Syncer
}

func files(upstreams ...string) []desired.File {
	list := []desired.File{
		{Path: "/opt/bin/configure.sh", Mode: 0o755, Content: []byte("#!/bin/sh\n")},
		{Path: "/etc/systemd/system/" + unit, Mode: 0o644, Content: []byte("[Unit]\n")},
		{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("/etc/containerd/certs.d\n")},
		{Path: "/" + managedFile, Mode: 0o644, Content: []byte("leave() { :; }\n")},
	}
	for _, u := range upstreams {
		list = append(list, desired.File{Path: "/etc/capi-registry-cache/upstreams/" + u + "/probe", Mode: 0o644, Content: []byte("http://a\n")})
	}
	return list
}

func newNode(t *testing.T) *node {
	n := &node{WithT: NewWithT(t), root: t.TempDir(), systemd: &fakeSystemd{}}
	for _, dir := range []string{etcDir, unitDir, stateDir, "opt/bin"} {
		n.Expect(os.MkdirAll(filepath.Join(n.root, dir), 0o755)).To(Succeed())
	}
	return n
}

// want lets a new Pod take over the node.
func (n *node) want(t *testing.T, list []desired.File, remove bool) {
	state, err := desired.New(unit, list, remove)
	n.Expect(err).NotTo(HaveOccurred())
	document, err := state.Encode()
	n.Expect(err).NotTo(HaveOccurred())
	state, err = desired.Decode(document)
	n.Expect(err).NotTo(HaveOccurred())
	n.syncer, err = New(state, n.root, n.systemd, slog.New(slog.NewTextHandler(&n.log, nil)))
	n.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { n.Expect(n.syncer.Close()).To(Succeed()) })
}

func (n *node) round() { n.syncer.note(n.syncer.round(context.Background())) }

// says is what the unit writes.
func (n *node) says(state string) {
	n.Expect(os.WriteFile(filepath.Join(n.root, stateDir, "state"), []byte(state), 0o644)).To(Succeed())
}

func (n *node) tree() map[string]string {
	found := map[string]string{}
	n.Expect(filepath.WalkDir(n.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found[path[len(n.root):]] = string(content)
		return err
	})).To(Succeed())
	return found
}

func (n *node) status(path string) int {
	w := httptest.NewRecorder()
	n.syncer.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	var r Report
	n.Expect(json.Unmarshal(w.Body.Bytes(), &r)).To(Succeed())
	n.Expect(r.Now).To(BeTemporally("~", time.Now(), time.Minute))
	r.Now = time.Time{} // the rest is the same whenever it is asked for
	n.Expect(r).To(Equal(n.syncer.Report()))
	return w.Code
}

func TestSync_writes_what_is_missing_and_starts_the_unit_once(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.round()
	n.round()
	n.Expect(n.systemd.starts).To(Equal(1))
	n.Expect(n.tree()).To(Equal(map[string]string{
		"/opt/bin/configure.sh":                              "#!/bin/sh\n",
		"/etc/systemd/system/" + unit:                        "[Unit]\n",
		"/etc/capi-registry-cache/certs-dir":                 "/etc/containerd/certs.d\n",
		"/etc/capi-registry-cache/upstreams/docker.io/probe": "http://a\n",
		"/etc/capi-registry-cache/generation":                n.syncer.state.Generation + "\n",
		"/" + managedFile:                                    "leave() { :; }\n",
	}))
	info, err := os.Stat(filepath.Join(n.root, "opt/bin/configure.sh"))
	n.Expect(err).NotTo(HaveOccurred())
	n.Expect(info.Mode()).To(Equal(os.FileMode(0o755)))
}

func TestSync_finds_nothing_to_do_on_a_Machine_that_booted_with_the_same_files(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	_, err := n.syncer.host.write(n.syncer.state)
	n.Expect(err).NotTo(HaveOccurred())
	n.systemd.active = true
	n.round()
	n.round()
	n.Expect(n.systemd.starts).To(BeZero())
	n.Expect(n.systemd.wakes).To(Equal(1), "to repeat the generation")
}

func TestSync_puts_right_what_somebody_changed(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.round()
	before := n.tree()
	for _, path := range []string{"opt/bin/configure.sh", "etc/capi-registry-cache/generation"} {
		n.Expect(os.Remove(filepath.Join(n.root, path))).To(Succeed())
	}
	n.Expect(os.WriteFile(filepath.Join(n.root, "etc/capi-registry-cache/certs-dir"), []byte("/x\n"), 0o600)).To(Succeed())
	n.Expect(os.MkdirAll(filepath.Join(n.root, "etc/capi-registry-cache/upstreams/old.example"), 0o755)).To(Succeed())
	n.Expect(os.WriteFile(filepath.Join(n.root, "etc/capi-registry-cache/upstreams/old.example/probe"), nil, 0o644)).To(Succeed())
	n.round()
	n.Expect(n.tree()).To(Equal(before))
	n.Expect(n.systemd.starts).To(Equal(2), "the script was gone")
	n.systemd.active = false
	n.round()
	n.Expect(n.systemd.starts).To(Equal(3), "the unit was stopped")
}

func TestSync_touches_only_its_own_files(t *testing.T) {
	n := newNode(t)
	foreign := filepath.Join(n.root, "opt/bin/foreign")
	n.Expect(os.WriteFile(foreign, []byte("x"), 0o600)).To(Succeed())
	n.want(t, files("docker.io"), false)
	n.round()
	n.Expect(n.tree()).To(HaveKeyWithValue("/opt/bin/foreign", "x"))
}

func TestSync_follows_no_link_out_of_the_node(t *testing.T) {
	n := newNode(t)
	outside := t.TempDir()
	n.Expect(os.Remove(filepath.Join(n.root, "opt/bin"))).To(Succeed())
	n.Expect(os.Symlink(outside, filepath.Join(n.root, "opt/bin"))).To(Succeed())
	n.want(t, files(), false)
	n.round()
	n.Expect(n.syncer.Report().Problems).To(ConsistOf(HaveField("Reason", ReasonWriteFailed)))
	n.Expect(os.ReadDir(outside)).To(BeEmpty())
}

func TestReport_is_taken_over_only_when_the_unit_repeats_the_generation(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io", "quay.io"), false)
	n.round()
	n.Expect(n.status("/startz")).To(Equal(http.StatusServiceUnavailable))
	n.Expect(n.syncer.Report().Problems).To(ConsistOf(HaveField("Reason", ReasonPending)))

	n.says("generation of-before\ndocker.io active\n")
	n.Expect(n.status("/startz")).To(Equal(http.StatusServiceUnavailable))

	n.says("generation " + n.syncer.state.Generation + "\ndocker.io active\nghcr.io static\nquay.io waiting cache does not answer\n")
	n.Expect(n.status("/startz")).To(Equal(http.StatusOK))
	n.Expect(n.status("/readyz")).To(Equal(http.StatusOK))
	n.Expect(n.syncer.Report().Upstreams).To(Equal(map[string]string{"docker.io": "active", "ghcr.io": "static", "quay.io": "waiting"}))
}

// TestReport_tells_how_long_upstreams_have_been_as_they_are: the unit writes its state when it changes, and then only.
func TestReport_tells_how_long_upstreams_have_been_as_they_are(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.round()
	n.Expect(n.syncer.Report().Since).To(BeNil(), "the unit has not said anything")
	n.says("generation " + n.syncer.state.Generation + "\ndocker.io active\n")
	before := time.Now().Add(-time.Hour)
	n.Expect(os.Chtimes(filepath.Join(n.root, stateDir, "state"), before, before)).To(Succeed())
	n.round()
	n.Expect(n.syncer.Report().Since).To(HaveValue(BeTemporally("~", before, time.Second)))
	n.Expect(n.status("/report")).To(Equal(http.StatusOK), "also as a document")
}

func TestReport_names_what_keeps_a_node_from_being_configured(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io", "quay.io", "ghcr.io"), false)
	n.round()
	n.says("generation " + n.syncer.state.Generation + "\ndocker.io conflict /etc/x is not ours\nquay.io unsupported containers run: drain\nghcr.io waiting cannot write to /etc/y\n")
	n.Expect(n.status("/startz")).To(Equal(http.StatusOK), "the unit has taken over what it could")
	n.Expect(n.status("/readyz")).To(Equal(http.StatusServiceUnavailable))
	n.Expect(n.status("/report")).To(Equal(http.StatusOK))
	n.Expect(n.syncer.Report().Problems).To(ConsistOf(
		Problem{ReasonConflict, "docker.io", "/etc/x is not ours"},
		Problem{ReasonUnsupported, "quay.io", "containers run: drain"},
		Problem{ReasonWriteFailed, "ghcr.io", "cannot write to /etc/y"},
	))
	n.systemd.err = errors.New("no bus")
	n.round()
	n.round()
	n.Expect(n.syncer.Report().Problems).To(ContainElement(Problem{Reason: ReasonNoSystemd, Message: "no bus"}))
	n.Expect(bytes.Count(n.log.Bytes(), []byte("NoSystemd"))).To(Equal(1), "said once")
}

func TestSync_removal_asks_the_unit_and_waits_until_nothing_is_left(t *testing.T) {
	n := newNode(t)
	n.want(t, files("docker.io"), false)
	n.round()
	n.want(t, files()[:2], true)
	n.round()
	n.Expect(n.tree()).To(HaveKey("/" + removeFile))
	n.Expect(n.status("/startz")).To(Equal(http.StatusServiceUnavailable))
	for _, f := range []string{"opt/bin/configure.sh", "etc/systemd/system/" + unit, etcDir} { // what the unit does then
		n.Expect(os.RemoveAll(filepath.Join(n.root, f))).To(Succeed())
	}
	n.systemd.active = false
	starts := n.systemd.starts
	n.round()
	n.Expect(n.systemd.starts).To(Equal(starts))
	n.Expect(n.tree()).To(BeEmpty())
	n.Expect(n.status("/startz")).To(Equal(http.StatusOK))
	n.Expect(n.status("/readyz")).To(Equal(http.StatusOK))
}

func TestSync_removal_of_a_node_that_never_had_anything_does_nothing(t *testing.T) {
	n := newNode(t)
	n.want(t, files()[:2], true)
	n.round()
	n.Expect(n.tree()).To(BeEmpty())
	n.Expect(n.systemd.starts).To(BeZero())
	n.Expect(n.status("/readyz")).To(Equal(http.StatusOK))
}

func TestRun_ends_with_its_context(t *testing.T) {
	n := newNode(t)
	n.want(t, files(), false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.syncer.Run(ctx); close(done) }()
	n.Eventually(n.tree).Should(HaveKey("/" + generationFile))
	cancel()
	n.Eventually(done, 5*time.Second).Should(BeClosed())
}

func TestDecode_rejects_what_is_no_desired_state(t *testing.T) {
	for name, tc := range map[string]struct{ document, reason string }{
		"no JSON":         {"x", "parsing the desired state"},
		"nothing":         {"{}", `generation ""`},
		"no files":        {`{"generation":"a","unit":"b.service"}`, "files: none given"},
		"a path":          {`{"generation":"a","unit":"../b.service","files":[{}]}`, `unit "../b.service"`},
		"a relative path": {`{"generation":"a","unit":"b.service","files":[{"path":"x"}]}`, `file "x"`},
		"a detour":        {`{"generation":"a","unit":"b.service","files":[{"path":"/x/../y"}]}`, `file "/x/../y"`},
		"a mode":          {`{"generation":"a","unit":"b.service","files":[{"path":"/x","mode":4294967295}]}`, `file "/x" of mode`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := desired.Decode([]byte(tc.document))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.reason)))
		})
	}
}
