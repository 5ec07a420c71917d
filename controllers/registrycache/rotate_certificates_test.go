package registrycache

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

const day = 24 * time.Hour

// at is a Reconciler at a time after serving() made its certificates.
func at(after time.Duration) *Reconciler {
	return &Reconciler{Clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0).Add(after)), CertificateOverlap: 10 * time.Minute}
}

func TestTheControllerWakesWhenTheNextCertificateIsDue(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		change func(*scope)
		want   time.Duration
	}{
		"at first":                                  {0, func(*scope) {}, 60 * day},
		"the older certificate counts":              {5 * day, func(s *scope) { s.facts["quay.io"].certificate = issued(s.authority.ca, s.now.Add(5*day)) }, 55 * day},
		"one that is missing does not":              {0, func(s *scope) { s.facts["quay.io"].certificate = nil }, 60 * day},
		"the authority":                             {0, func(s *scope) { s.facts = nil }, authority.Life - authority.RenewBefore},
		"what is overdue is told, and wakes nobody": {61 * day, func(*scope) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := serving()
			tc.change(s)
			NewWithT(t).Expect(at(tc.after).nextRenewal(s)).To(Equal(ctrl.Result{RequeueAfter: tc.want}))
		})
	}
}

func TestACertificateOfTheSuccessorWaitsForNodes(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		change func(*scope)
		want   time.Duration
	}{
		"no successor":                          {0, func(*scope) {}, 0},
		"nodes have not taken over":             {0, replaced, -1},
		"nodes have taken over":                 {0, func(s *scope) { replaced(s); s.forgotten = true }, 0},
		"nodes are ignored":                     {0, func(s *scope) { replaced(s); s.nodes.ignored, s.forgotten = true, true }, 30 * day},
		"nodes have been ignored for some days": {29 * day, func(s *scope) { replaced(s); s.nodes.ignored, s.forgotten = true, true }, day},
		"nodes have been ignored long enough":   {31 * day, func(s *scope) { replaced(s); s.nodes.ignored, s.forgotten = true, true }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := serving()
			tc.change(s)
			NewWithT(t).Expect(s.takenOverIn(at(tc.after).Clock.Now())).To(Equal(tc.want))
		})
	}
}

// replaced is a scope whose authority has just got a successor.
func replaced(s *scope) {
	s.authority.ca, _ = authority.New(s.now)
	s.authority.trusted = s.authority.trusted.With(s.authority.ca.Certificate)
}

func TestAnAuthorityGetsASuccessorOncePerRequestAndBeforeItsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		after         time.Duration
		asked, heeded string
		change        func(*scope)
		want          bool
	}{
		"nobody asks":                 {0, "", "", func(*scope) {}, false},
		"the user asks":               {0, "1", "", func(*scope) {}, true},
		"the user asks again":         {0, "2", "1", func(*scope) {}, true},
		"the same request":            {0, "1", "1", func(*scope) {}, false},
		"the request was taken back":  {0, "", "1", func(*scope) {}, false},
		"a replacement is under way":  {0, "2", "1", replaced, false},
		"a year and a day are left":   {authority.Life - authority.RenewBefore - day, "", "", func(*scope) {}, false},
		"a year is left":              {authority.Life - authority.RenewBefore, "", "", func(*scope) {}, true},
		"its end, during replacement": {authority.Life, "", "", replaced, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serving()
			s.cache.Annotations = map[string]string{addonsv1.RotateCAAnnotation: tc.asked}
			s.authority.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{addonsv1.RotateCAAnnotation: tc.heeded}}}
			tc.change(s)
			NewWithT(t).Expect(at(tc.after).successorDue(s)).To(Equal(tc.want))
		})
	}
}

// retire must not shrink the bundle while a cache may serve with what it would take out; what it then does is tested at the API server.
func TestTheAuthorityBeforeIsTrustedUntilNoCacheServesWithIt(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		change func(*scope)
		want   time.Duration
	}{
		"a cache serves with it":               {day, func(*scope) {}, 0},
		"one cache of two serves with it":      {day, func(s *scope) { s.facts["quay.io"].certificate = issued(s.authority.ca, s.now) }, 0},
		"nobody knows what a cache serves":     {day, func(s *scope) { bySuccessor(s); s.facts["quay.io"].certificate = nil }, 0},
		"the last certificate is a minute old": {time.Minute, bySuccessor, 9 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			replaced(s)
			tc.change(s)
			result, err := at(tc.after).retire(t.Context(), s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result).To(Equal(ctrl.Result{RequeueAfter: tc.want}))
			g.Expect(s.authority.trusted).To(HaveLen(2))
		})
	}
}

func bySuccessor(s *scope) {
	for _, fact := range s.facts {
		fact.certificate = issued(s.authority.ca, s.now)
	}
}
