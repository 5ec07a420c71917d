package stack

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestDefaultInterfaces(t *testing.T) {
	tests := map[string]struct {
		routes string
		want   []string
	}{
		"one route names one interface":      {"default via 192.0.2.1 dev eth0 \n", []string{"eth0"}},
		"two routes name both interfaces":    {"default via 192.0.2.1 dev eth0 metric 1\ndefault via 192.0.2.2 dev eth1", []string{"eth0", "eth1"}},
		"no route names no interface at all": {"", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(defaultInterfaces(test.routes)).To(Equal(test.want))
		})
	}
}

func TestDroppedFirst(t *testing.T) {
	tests := map[string]struct {
		rules string
		want  map[string]bool
	}{
		"a drop rule in front counts":               {"-N DOCKER-USER\n-A DOCKER-USER -o eth0 -j DROP\n-A DOCKER-USER -j RETURN", map[string]bool{"eth0": true}},
		"a drop rule behind another does not count": {"-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n-A DOCKER-USER -o eth0 -j DROP", map[string]bool{}},
		"a rule with a further condition does not":  {"-N DOCKER-USER\n-A DOCKER-USER -s 10.0.0.0/8 -o eth0 -j DROP", map[string]bool{}},
		"an empty chain drops nothing":              {"-N DOCKER-USER", map[string]bool{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(droppedFirst(test.rules)).To(Equal(test.want))
		})
	}
}

func TestParseAccessLogSkipsWhatIsNoRequest(t *testing.T) {
	g := NewWithT(t)
	requests, err := parseAccessLog(`2026-11-21T05:29:14.781000000Z 172.18.0.5 - - [21/Nov/2026:05:29:14 +0000] "GET /v2/app/blobs/sha256:00 HTTP/1.1" 200 123 "" "containerd/2.4.2"
2026-11-21T05:29:15.000000000Z time="2026-11-21T05:29:15Z" level=warning msg="something else"
2026-11-21T05:29:16.000000000Z 172.18.0.5 - - [21/Nov/2026:05:29:16 +0000] "HEAD /v2/app/manifests/v1 HTTP/1.1" 404 0 "" "containerd/2.4.2"`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(requests).To(Equal([]Request{
		{Time: time.Date(2026, 11, 21, 5, 29, 14, 781000000, time.UTC), Method: "GET", Path: "/v2/app/blobs/sha256:00", Status: 200, Bytes: 123},
		{Time: time.Date(2026, 11, 21, 5, 29, 16, 0, time.UTC), Method: "HEAD", Path: "/v2/app/manifests/v1", Status: 404},
	}))
	g.Expect(requests[0].Blob()).To(BeTrue())
	g.Expect(requests[1].Blob()).To(BeFalse())
}

func TestParseJournalSkipsMessagesThatAreNoText(t *testing.T) {
	g := NewWithT(t)
	entries, err := parseJournal(`{"__REALTIME_TIMESTAMP":"1795238736000001","MESSAGE":"wrote hosts.toml"}
{"__REALTIME_TIMESTAMP":"1795238737000000","MESSAGE":[27,91]}`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(Equal([]JournalEntry{{Time: time.UnixMicro(1795238736000001), Message: "wrote hosts.toml"}}))

	_, err = parseJournal("no JSON")
	g.Expect(err).To(MatchError(ContainSubstring(`journal line "no JSON"`)))
}

func TestHostsFileIsWhereContainerdLooks(t *testing.T) {
	g := NewWithT(t)
	g.Expect(HostsFile("quay.io")).To(Equal("/etc/containerd/certs.d/quay.io/hosts.toml"))
	g.Expect(HostsFile("registry-one.test:5000")).To(Equal("/etc/containerd/certs.d/registry-one.test_5000_/hosts.toml"))
}

func TestCountersPicksHitsAndMisses(t *testing.T) {
	metrics := `# TYPE registry_proxy_hits_total counter
registry_proxy_hits_total{type="blob"} 4
registry_proxy_misses_total{type="blob"} 5
registry_proxy_requests_total{type="blob"} 9`
	NewWithT(t).Expect(counters(metrics)).To(Equal("blob hits 4, blob misses 5"))
}

func TestRequestsAddsUpAllHandlers(t *testing.T) {
	metrics := `# TYPE registry_http_requests_total counter
registry_http_requests_total{code="200",handler="base",method="get"} 40
registry_http_requests_total{code="200",handler="blob",method="get"} 2
registry_http_in_flight_requests{handler="base"} 1`
	NewWithT(t).Expect(requests(metrics)).To(Equal(42))
}
