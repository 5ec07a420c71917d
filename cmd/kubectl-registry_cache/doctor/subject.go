package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/counters"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
)

const (
	// leasePatience is how long the lease of the manager may take to be renewed, which it is every five seconds, if the clock here
	// says that it is over: clocks differ.
	leasePatience = 12 * time.Second
	// pullPatience is how long a pull may take.
	pullPatience = 3 * time.Minute
	// named is how many nodes a finding names.
	named = 10
)

// Options are what is looked at, and how.
type Options struct {
	// Management reaches the management cluster.
	Management client.Client
	// Connect reaches the workload cluster of the Cluster. It asks nothing of it.
	Connect func(ctx context.Context, cluster client.ObjectKey) (*reach.Workload, error)
	// Cluster is the name of the Cluster and of its RegistryCache.
	Cluster client.ObjectKey
	// Node, if it is set, is the only node that is looked at.
	Node string
	// Pull, if it is set, is an image of an upstream with a cache, which is pulled once.
	Pull string
	// Kubectl is how kubectl is called for the management cluster, with the flags that choose it: "kubectl" if it is empty.
	Kubectl string
	// LeasePatience and PullPatience are 12 s and 3 min if they are 0.
	LeasePatience, PullPatience time.Duration
	// Now is time.Now if it is nil.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Kubectl == "" {
		o.Kubectl = "kubectl"
	}
	if o.LeasePatience == 0 {
		o.LeasePatience = leasePatience
	}
	if o.PullPatience == 0 {
		o.PullPatience = pullPatience
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// subject is a walk: what it is about, and the facts that links find for those after them.
type subject struct {
	Options

	cluster *clusterv1.Cluster
	rc      *v1alpha1.RegistryCache
	// paused says so, to be put behind a remedy: nobody mends anything then.
	paused string
	// byReference: bootstrap templates take the caches from a Secret, so no webhook is needed.
	byReference bool
	// workload is nil while the workload cluster was not reached.
	workload *reach.Workload
	// pods are the ready Pods of each cache, by upstream.
	pods map[string][]corev1.Pod
	// reports are what they say of themselves; nil if they could not be asked.
	reports map[string][]podReport
	// silent: a Pod that should have said something did not.
	silent bool
	// nodes are those that were looked at, nil if nothing reports from them; notReady are the names of the others.
	nodes    []node
	notReady []string
	// pull is the pull that was asked for, through that it went through the cache.
	pull    *pull
	through bool
	// unknown is why something that should have been looked at could not be.
	unknown error
}

// pull is one pull and what its cache had counted before.
type pull struct {
	cache  v1alpha1.Cache
	node   string
	before counters.Cache
	// asked is how often the cache had been asked for a manifest.
	asked int64
	at    time.Time
}

// notReached is the finding of a link that needs the workload cluster.
func (s *subject) notReached() (finding, bool) {
	return unchecked("the workload cluster was not reached"), s.workload == nil
}

// status is the entry of an upstream, nil if there is none.
func (s *subject) status(upstream string) *v1alpha1.CacheStatus {
	for i := range s.rc.Status.Caches {
		if s.rc.Status.Caches[i].Upstream == upstream {
			return &s.rc.Status.Caches[i]
		}
	}
	return nil
}

// here is how kubectl is called for an object in the namespace of the Cluster, there for one in that of the caches, and in for one in
// another namespace of the management cluster.
func (s *subject) here(command string) string { return s.in(s.Cluster.Namespace, command) }

func (s *subject) in(namespace, command string) string {
	return fmt.Sprintf("%s -n %s %s", s.Kubectl, namespace, command)
}

func (s *subject) there(command string) string {
	return fmt.Sprintf("kubectl --kubeconfig %s.kubeconfig -n %s %s", s.Cluster.Name, s.rc.Spec.Namespace, command)
}

// list joins what was found at several places, each once.
func list(findings []string) string {
	var once []string
	for _, f := range findings {
		if !slices.Contains(once, f) {
			once = append(once, f)
		}
	}
	return strings.Join(once, "\n")
}
