package registrycache

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// lookTimeout bounds the look at nodes and Events.
const lookTimeout = 15 * time.Second

// observeUsage finds out whether nodes pull through the caches or around them: by what the caches have answered, and if that is
// nothing of late, by what nodes say of themselves and by the Events of their kubelets. What was said before stays until there is
// something to the contrary. Nothing here keeps anything else from being done.
func (r *Reconciler) observeUsage(ctx context.Context, s *scope) (ctrl.Result, error) {
	memory := r.usages.of(s.clusterKey(), s.now)
	uses := s.uses(memory)
	for _, u := range uses {
		u.forgetIdle(r.Usage)
		u.judgeAnswers(r.Usage)
	}
	if s.nodes == nil || s.nodes.ignored {
		for _, u := range uses { // nobody says any more what nodes do
			if u.entry.InUse != addonsv1.CacheInUse {
				u.clear()
			}
		}
	} else if quiet := quietOnes(uses, r.Usage); r.due(memory, s.now, quiet) {
		memory.looked = s.now
		if err := r.lookAround(ctx, s, quiet); err != nil {
			ctrl.LoggerFrom(ctx).Info("Whether nodes use the caches could not be looked at", "reason", err.Error())
		}
	}
	for _, u := range uses {
		s.facts[u.upstream].usage = usageFact{said: u.memory.said, reported: u.complete}
	}
	return ctrl.Result{}, nil
}

// usageFact is what is known of the use of a cache, beside what is in the status.
type usageFact struct {
	// said is why it is not used, or bypassed.
	said string
	// reported: all its replicas tell what they are asked for.
	reported bool
}

func quietOnes(uses []*use, times UsageTimes) []*use {
	var quiet []*use
	for _, u := range uses {
		if u.quiet(times) {
			quiet = append(quiet, u)
		}
	}
	return quiet
}

// due says whether it is time to look.
func (r *Reconciler) due(memory *clusterUsage, now time.Time, quiet []*use) bool {
	if len(quiet) == 0 {
		return false
	}
	every := r.Usage.LookAgain
	for _, u := range quiet {
		if u.urgent(r.Usage) {
			every = r.Usage.Look
		}
	}
	return now.Sub(memory.looked) >= every
}

// lookAround looks at nodes first: where none uses a cache, no pull tells more.
func (r *Reconciler) lookAround(ctx context.Context, s *scope, quiet []*use) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	sample, err := r.sampleNodes(ctx, s, quiet)
	if err != nil {
		return err
	}
	var open []*use
	for _, u := range quiet {
		u.judgeNodes(sample, r.Usage)
		if u.entry.InUse == "" || u.entry.InUse == addonsv1.CacheInUse {
			open = append(open, u)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return r.lookAtPulls(ctx, s, open)
}
