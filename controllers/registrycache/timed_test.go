package registrycache

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// series is the one of a phase.
func series(g *WithT, metric, phase string) *dto.Metric {
	families, err := ctrlmetrics.Registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == metric && m.Label[0].GetValue() == phase {
				return m
			}
		}
	}
	return nil
}

type phases struct{}

func (*phases) goesWell(context.Context, *scope) (ctrl.Result, error) {
	return ctrl.Result{RequeueAfter: 1}, nil
}

func (*phases) recordsAnError(_ context.Context, s *scope) (ctrl.Result, error) {
	s.payload.err = errors.New("later")
	return ctrl.Result{}, nil
}

func (*phases) fails(context.Context, *scope) (ctrl.Result, error) {
	return ctrl.Result{}, errors.New("now")
}

func TestPhasesAreMeasuredByTheirNames(t *testing.T) {
	g := NewWithT(t)
	p, s := &phases{}, &scope{cache: &addonsv1.RegistryCache{}}
	_, err := run(t.Context(), s, p.goesWell, p.recordsAnError, p.goesWell, p.fails, p.goesWell)
	g.Expect(err).To(MatchError("now"))
	for phase, want := range map[string]struct{ times, errors int }{"goesWell": {2, 0}, "recordsAnError": {1, 1}, "fails": {1, 1}} {
		took := series(g, "capi_registry_cache_reconcile_phase_duration_seconds", phase)
		g.Expect(took.GetHistogram().GetSampleCount()).To(BeEquivalentTo(want.times), phase)
		failed := series(g, "capi_registry_cache_reconcile_phase_errors_total", phase)
		g.Expect(failed.GetCounter().GetValue()).To(BeEquivalentTo(want.errors), phase)
	}
	r := &Reconciler{}
	g.Expect(nameOf(r.findCluster)).To(Equal("findCluster"))
}

func TestExpiryIsThatOfTheLastLook(t *testing.T) {
	g := NewWithT(t)
	r := &Reconciler{}
	rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
	rc.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io"}, {Upstream: "quay.io"}}
	ends := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	looked := &scope{cache: rc, facts: map[string]*cacheFact{"docker.io": {certificate: &x509.Certificate{NotAfter: ends}}, "quay.io": {}}}
	r.expiries.put(&scope{cache: rc})
	g.Expect(r.Expiry(looked.clusterKey())).To(BeEmpty())
	r.expiries.put(looked)
	r.expiries.put(&scope{cache: rc}) // the workload cluster was not connected
	g.Expect(r.Expiry(looked.clusterKey())).To(Equal(map[string]time.Time{"docker.io": ends}))
	r.expiries.put(&scope{cache: rc, facts: map[string]*cacheFact{"docker.io": {}}}) // an object before the certificate was refused
	g.Expect(r.Expiry(looked.clusterKey())).To(Equal(map[string]time.Time{"docker.io": ends}))
	r.expiries.put(&scope{cache: rc, facts: map[string]*cacheFact{"docker.io": {uncertified: true}}})
	g.Expect(r.Expiry(looked.clusterKey())).To(BeEmpty())
	r.expiries.put(looked)
	now := metav1.Now()
	rc.DeletionTimestamp = &now
	r.expiries.put(&scope{cache: rc})
	g.Expect(r.Expiry(looked.clusterKey())).To(BeEmpty())
}
