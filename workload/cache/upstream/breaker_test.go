package upstream

import (
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
)

// fail tells b of a failure that began now.
func fail(b *breaker, kind Kind) { b.failed(&Error{Kind: kind, since: time.Now()}) }

func TestTheBreakerWithoutAProberTriesOneRequestAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		b := newBreaker("registry.example.com")
		fail(b, Timeout)
		g.Expect(b.admit()).To(ofKind(Open))
		<-time.After(trialAfter)
		g.Expect(b.check()).To(Succeed())
		g.Expect(b.admit()).To(Succeed())
		g.Expect(b.admit()).To(ofKind(Open), "one at a time")

		fail(b, Refused)
		g.Expect(b.admit()).To(ofKind(Open), "ten seconds again")
		<-time.After(trialAfter)
		g.Expect(b.admit()).To(Succeed())
		b.abandoned()
		g.Expect(b.admit()).To(Succeed(), "its caller left")
		b.alive()
		g.Expect(b.admit()).To(Succeed())
		g.Expect(b.admit()).To(Succeed())
	})
}

func TestTheBreakerWithAProberLetsNoClientTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		b := newBreaker("registry.example.com")
		b.prober(1)
		fail(b, Timeout)
		<-time.After(time.Hour)
		g.Expect(b.admit()).To(ofKind(Open))
		b.prober(-1)
		g.Expect(b.admit()).To(Succeed())
	})
}

func TestProbesComeMoreSeldomUntilRequestsGoWell(t *testing.T) {
	g := NewWithT(t)
	b := newBreaker("registry.example.com")
	waits := func(n int) (seconds []float64) {
		for range n {
			seconds = append(seconds, b.untilProbe().Seconds())
		}
		return seconds
	}
	fail(b, Timeout)
	g.Expect(waits(8)).To(Equal([]float64{1, 1, 2, 4, 8, 10, 10, 10}))
	b.alive()
	fail(b, Timeout) // the probe is answered, and nothing else
	g.Expect(waits(1)).To(Equal([]float64{10}))
	b.alive()
	b.well()
	g.Expect(waits(2)).To(Equal([]float64{1, 1}))
}

func TestFailuresInARowOpenTheBreaker(t *testing.T) {
	g := NewWithT(t)
	b := newBreaker("registry.example.com")
	for _, kind := range []Kind{Reset, ServerError} {
		fail(b, kind)
	}
	b.well()
	for _, kind := range []Kind{Refused, Other, TLS, NotFound} {
		fail(b, kind)
	}
	g.Expect(b.check()).To(Succeed())
	fail(b, Reset)
	g.Expect(b.check()).To(ofKind(Open))
}

func TestATimeoutDuringWhichTheUpstreamAnsweredOthersSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		b := newBreaker("registry.example.com")
		since := time.Now()
		<-time.After(time.Second)
		b.alive()
		b.failed(&Error{Kind: Timeout, since: since})
		g.Expect(b.check()).To(Succeed())
		<-time.After(time.Second)
		fail(b, Timeout)
		g.Expect(b.check()).To(ofKind(Open))
		b.alive()
		b.failed(&Error{Kind: Timeout, since: since}) // one that began before the breaker closed
		g.Expect(b.check()).To(Succeed())
	})
}

func TestNoRouteOpensTheBreakerAtOnce(t *testing.T) {
	b := newBreaker("registry.example.com")
	b.failed(&Error{Kind: Refused, since: time.Now(), unreachable: true})
	NewWithT(t).Expect(b.check()).To(ofKind(Open))
}
