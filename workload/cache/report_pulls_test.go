package cache_test

import (
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// tally matches how many there were; when the last one was is known if there was one.
func tally(count int64) gomegatypes.GomegaMatcher {
	ago := BeNil()
	if count > 0 {
		ago = HaveValue(BeNumerically("<", 60))
	}
	return And(HaveField("Count", count), HaveField("SecondsAgo", ago))
}

func TestPullsAreReportedAndProbesAreNone(t *testing.T) {
	g := NewWithT(t)
	up := newUpstream(t)
	p := startCache(t, settings{remoteURL: up.URL})
	pulls := func() report.Pulls { return *p.reported(t).Pulls }
	for _, path := range []string{"/", "/v2/", "/v2/?ns=example.com", "/v2/library/app/tags/list"} {
		get(t, p.registry+path)
	}
	g.Expect(pulls()).To(And(HaveField("Asked", tally(0)), HaveField("Answered", tally(0)), HaveField("RunningSeconds", BeNumerically("<", 60))))

	img := up.push(t, "v1")
	pull(t, p.registry, "v1", img)
	first := pulls()
	g.Expect(first.Asked.Count).To(And(BeNumerically(">", 0), Equal(first.Answered.Count)))
	g.Expect(first.Answered).To(tally(first.Answered.Count))

	g.Expect(get(t, blobURL(p.registry, img.layerDigest)).status).To(Equal(http.StatusOK))
	g.Expect(send(t, http.MethodHead, manifestURL(p.registry, "v1"), "", "").status).To(Equal(http.StatusOK))
	g.Expect(pulls()).To(And(HaveField("Asked", tally(first.Asked.Count+1)), HaveField("Answered", tally(first.Answered.Count+1))), "a manifest counts, a blob does not")

	g.Expect(get(t, manifestURL(p.registry, "none")).status).To(Equal(http.StatusNotFound))
	up.setFault(answerWith(http.StatusInternalServerError))
	g.Expect(get(t, manifestURL(p.registry, "v2")).status).To(Equal(http.StatusServiceUnavailable))
	g.Expect(pulls()).To(And(HaveField("Asked", tally(first.Asked.Count+3)), HaveField("Answered", tally(first.Answered.Count+1))), "there was no answer to these")

	p.restart(t)
	g.Expect(pulls()).To(And(HaveField("Asked", tally(0)), HaveField("Answered", tally(0))), "another process counts anew, and says for how long")
}

func TestWhatOlderCachesReportIsReadWithoutPulls(t *testing.T) {
	g := NewWithT(t)
	told, err := report.Decode([]byte(`{"access": {"state": "Unused"}, "volume": {"state": "Usable"}}`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(told.Pulls).To(BeNil())
}
