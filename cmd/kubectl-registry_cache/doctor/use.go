package doctor

import (
	"context"
	"fmt"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// used repeats what the manager knows of the pulls of all nodes: they may go around caches of which everything else is as it should be.
func used(_ context.Context, s *subject) (finding, error) {
	c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.CacheInUseCondition)
	switch {
	case c != nil && c.Status == metav1.ConditionFalse && !s.outdated():
		return broken(c.Message, "docs/in-use.md says what each message means and what to do. Is containerd on the nodes given a proxy, without the addresses of Services in its NO_PROXY? "+
			"Has the cache a way to its upstream? To see one pull: --pull IMAGE"), nil
	case c != nil && c.Status == metav1.ConditionTrue:
		return ok("nodes pull through the caches"), nil
	case s.through:
		return ok("a node has pulled through the cache of %s just now", s.pull.cache.Upstream), nil
	case c == nil || c.Message == "":
		return unchecked("whether nodes pull through the caches is not known"), nil
	}
	return unchecked("%s%s", c.Message, s.unanswered()), nil
}

// outdated tells whether the manager has yet to hear of the pull that was made, and knows of nothing else.
func (s *subject) outdated() bool {
	return s.through && !slices.ContainsFunc(s.rc.Status.Caches, func(status v1alpha1.CacheStatus) bool {
		return status.Upstream != s.pull.cache.Upstream && (status.InUse == v1alpha1.CacheBypassed || status.InUse == v1alpha1.CacheNotUsed)
	})
}

// unanswered names the caches that were asked and answered nothing. That is no fault of theirs if nobody has the image.
func (s *subject) unanswered() string {
	text := ""
	for _, cache := range s.rc.Spec.Caches {
		var asked, answered int64
		for _, told := range s.reports[cache.Upstream] {
			if told.Pulls != nil {
				asked, answered = asked+told.Pulls.Asked.Count, answered+told.Pulls.Answered.Count
			}
		}
		if asked > 0 && answered == 0 {
			text += fmt.Sprintf("\nThe cache of %s was asked %d time(s) and had no answer: its log says why", cache.Upstream, asked)
		}
	}
	return text
}

// asked is how often nodes have asked a cache for a manifest, as far as its Pods tell.
func (s *subject) asked(ctx context.Context, cache v1alpha1.Cache) int64 {
	count := int64(0)
	for _, pod := range s.pods[cache.Upstream] {
		if told, err := s.askPod(ctx, &pod); err == nil && told.Pulls != nil {
			count += told.Pulls.Asked.Count
		}
	}
	return count
}
