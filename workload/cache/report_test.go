package cache_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// reported is what a cache tells of itself.
func (p *process) reported(t *testing.T) report.Report {
	t.Helper()
	answer := get(t, p.debug+report.Path)
	g := NewWithT(t)
	g.Expect(answer.status).To(Equal(http.StatusOK))
	told, err := report.Decode([]byte(answer.body))
	g.Expect(err).NotTo(HaveOccurred())
	return told
}

func TestACacheWithoutCredentialsReportsItsVolumeAndAsksNothing(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	p := startCache(t, settings{remoteURL: up.URL, storage: map[string]any{"maxsize": 1 << 20}})
	told := p.reported(t)
	g.Expect(told.Access).To(Equal(report.Access{State: report.AccessUnused}))
	g.Expect(told.Volume.State).To(Equal(report.VolumeUsable))
	g.Expect(told.Volume.CapacityBytes).To(Equal(int64(1 << 20)))
	g.Expect(told.Volume.FreeBytes).To(BeNumerically(">", 0))
	img := up.push(t, "v1")
	before := len(up.asked())
	g.Consistently(func() int { return len(up.asked()) }, "1s").Should(Equal(before))
	pull(t, p.registry, "v1", img)
	g.Expect(p.reported(t).Volume.StoredBytes).To(BeNumerically(">", 0))
}

// private lets a registry answer only to one user and password, which is in a file.
func private(t *testing.T, up *upstream, file string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, _ := os.ReadFile(file)
		if user, password, _ := r.BasicAuth(); user != "puller" || password != string(want) {
			w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		up.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// TestRotatedCredentialsAreReportedByTheSameProcess guards I7 as well: nothing that the cache says holds a password.
func TestRotatedCredentialsAreReportedByTheSameProcess(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	dir := t.TempDir()
	write := func(name, content string) {
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)).To(Succeed())
	}
	write("upstream-password", "hunter2-one")
	write("username", "puller")
	server := private(t, up, filepath.Join(dir, "upstream-password"))
	p := startCache(t, settings{remoteURL: server.URL, upstream: map[string]any{
		"usernamefile": filepath.Join(dir, "username"), "passwordfile": filepath.Join(dir, "password"),
	}})
	state := func() report.AccessState { return p.reported(t).Access.State }
	g.Eventually(state, "20s").Should(Equal(report.AccessUnreadable), "kubelet has not written it yet")
	write("password", "hunter2-one")
	g.Eventually(state, "20s").Should(Equal(report.AccessAccepted))
	pull(t, p.registry, "v1", img)
	write("upstream-password", "hunter2-two")
	write("password", "hunter2-wrong")
	g.Eventually(p.reported, "20s").WithArguments(t).Should(HaveField("Access", report.Access{
		State: report.AccessRejected, Message: "upstream: unauthorized: GET /v2/: 401 Unauthorized",
	}))
	pull(t, p.registry, "v1", img) // what is cached
	write("password", "hunter2-two")
	g.Eventually(state, "20s").Should(Equal(report.AccessAccepted))
	said := p.output() + get(t, p.debug+"/metrics").body + get(t, p.debug+"/debug/vars").body + get(t, p.debug+report.Path).body
	g.Expect(said).NotTo(ContainSubstring("hunter2"))
}

func TestAVolumeThatRefusesWritesIsReportedWhilePullsSucceed(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL})
	p.limitFileSize(t, 16)
	pull(t, p.registry, "v1", img)
	g.Expect(p.reported(t).Volume.State).To(Equal(report.VolumeFailing))
}

func TestAVolumeWithoutRoomIsReportedWhilePullsSucceed(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	img := up.push(t, "v1")
	p := startCache(t, settings{remoteURL: up.URL, storage: map[string]any{"maxsize": 64}})
	pull(t, p.registry, "v1", img)
	g.Expect(p.reported(t).Volume.State).To(Equal(report.VolumeFull))
	g.Expect(get(t, p.debug+"/metrics").body).To(MatchRegexp(`(?m)^registry_cache_volume_full 1$`))
}
