package registrycache

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	// reportPoll is how often caches are asked that said the same as before for reportSettled, reportPollSoon how often until then.
	reportPoll     = 2 * time.Minute
	reportPollSoon = 15 * time.Second
	reportSettled  = 5 * time.Minute

	// reportsTimeout bounds the questions to all Pods of a RegistryCache, which are asked at the same time.
	reportsTimeout = 5 * time.Second
)

// reportsFact is what the Pods of one cache tell of themselves.
type reportsFact struct {
	told []report.Report
	// silent: the image is one of the user's that does not report.
	silent bool
	// missing: at least one Pod should have answered and did not.
	missing bool
}

// observeReports asks every cache that serves for its report. One that does not answer is not known, and keeps nothing from being
// done. A requeue asks again, because no watch tells.
func (r *Reconciler) observeReports(ctx context.Context, s *scope) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	var asking sync.WaitGroup
	asked := false
	for _, cache := range s.cache.Spec.Caches {
		fact := s.facts[cache.Upstream]
		if fact == nil || fact.readyReplicas == 0 {
			continue
		}
		asked = true
		asking.Go(func() { fact.reports = r.ask(ctx, s, cache, fact.readyReplicas) })
	}
	asking.Wait()
	if !asked {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: r.nextReport(s)}, nil
}

// ask asks the Pods of one cache, one after the other. As many as are ready have to answer.
func (r *Reconciler) ask(ctx context.Context, s *scope, cache addonsv1.Cache, ready int32) reportsFact {
	fact := reportsFact{}
	for _, name := range manifests.PodNames(cache) {
		document, err := r.Workloads.CacheReport(ctx, s.clusterKey(), client.ObjectKey{Namespace: s.cache.Spec.Namespace, Name: name})
		if err != nil {
			fact.silent = fact.silent || cache.Image != "" && apierrors.IsNotFound(err)
			continue
		}
		if told, err := report.Decode(document); err == nil {
			fact.told = append(fact.told, told)
		}
	}
	fact.missing = !fact.silent && len(fact.told) < int(ready)
	return fact
}

// nextReport is soon while something changes.
func (r *Reconciler) nextReport(s *scope) time.Duration {
	for _, kind := range []string{addonsv1.CredentialsValidCondition, addonsv1.VolumesHealthyCondition, addonsv1.CacheInUseCondition} {
		condition := conditions.Get(s.cache, kind)
		if condition == nil || r.Clock.Since(condition.LastTransitionTime.Time) < reportSettled {
			return reportPollSoon
		}
	}
	if s.copied {
		return reportPollSoon
	}
	return reportPoll
}
