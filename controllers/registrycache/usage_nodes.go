package registrycache

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// active is the status of an upstream on a node whose containerd is told of the cache.
const active = "active"

// nodeReport is the part of node-sync's report that tells whether a node uses a cache.
type nodeReport struct {
	node      string
	Now       time.Time         `json:"now"`
	Since     *time.Time        `json:"since"`
	Upstreams map[string]string `json:"upstreams"`
	Problems  []struct {
		Upstream string `json:"upstream"`
		Message  string `json:"message"`
	} `json:"problems"`
}

// nodeSample is what some nodes say. Which ones chance decides, by the names that the DaemonSet gives its Pods, and it is the same ones as
// long as these live; if there are few, it is all.
type nodeSample struct {
	nodes []nodeReport
	// complete: every node of the sample has answered.
	complete bool
}

func (n nodeSample) active(upstream string) bool {
	for _, node := range n.nodes {
		if node.Upstreams[upstream] == active {
			return true
		}
	}
	return false
}

func (n nodeSample) activeForAll(uses []*use) bool {
	for _, u := range uses {
		if !n.active(u.upstream) {
			return false
		}
	}
	return true
}

// hindrances say what keeps the nodes from using a cache, with the names of the nodes.
func (n nodeSample) hindrances(upstream string) string {
	why := map[string][]string{}
	for _, node := range n.nodes {
		what := bounded(node.hindrance(upstream))
		why[what] = append(why[what], node.node)
	}
	return "no node that was asked uses it: " + groups(why)
}

// hindrance is a problem of the upstream, else one of the whole node.
func (n nodeReport) hindrance(upstream string) string {
	whole := "the node has not taken over what it is told"
	for _, p := range n.Problems {
		switch p.Upstream {
		case upstream:
			return p.Message
		case "":
			whole = p.Message
		}
	}
	if n.Upstreams[upstream] == "waiting" {
		return "the cache does not answer there"
	}
	return whole
}

// sampleNodes asks one node, and if that one does not use all of the caches, a few more.
func (r *Reconciler) sampleNodes(ctx context.Context, s *scope, uses []*use) (nodeSample, error) {
	pods := &corev1.PodList{}
	err := s.target.Live.List(ctx, pods, client.InNamespace(s.cache.Spec.Namespace), client.MatchingLabels(manifests.NodeSyncSelector()), client.Limit(namedNodes))
	if err != nil {
		return nodeSample{}, fmt.Errorf("listing Pods of node-sync: %w", err)
	}
	sample := nodeSample{complete: true}
	for batch := 1; len(pods.Items) > 0 && !sample.activeForAll(uses); batch = namedNodes {
		batch = min(batch, len(pods.Items))
		sample.add(r.nodeReports(ctx, s, pods.Items[:batch]))
		pods.Items = pods.Items[batch:]
	}
	return sample, nil
}

func (n *nodeSample) add(reports []*nodeReport) {
	for _, told := range reports {
		if told == nil {
			n.complete = false
			continue
		}
		n.nodes = append(n.nodes, *told)
	}
}

// nodeReports asks Pods at the same time. nil stands for one that does not answer, or whose answer is too old to tell anything.
func (r *Reconciler) nodeReports(ctx context.Context, s *scope, pods []corev1.Pod) []*nodeReport {
	reports := make([]*nodeReport, len(pods))
	var asking sync.WaitGroup
	for i := range pods {
		asking.Go(func() { reports[i] = r.nodeReport(ctx, s, &pods[i]) })
	}
	asking.Wait()
	return reports
}

func (r *Reconciler) nodeReport(ctx context.Context, s *scope, pod *corev1.Pod) *nodeReport {
	if pod.Status.Phase != corev1.PodRunning || !pod.DeletionTimestamp.IsZero() {
		return nil
	}
	document, err := r.Workloads.NodeReport(ctx, s.clusterKey(), client.ObjectKeyFromObject(pod))
	if err != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("A node does not report", "node", pod.Spec.NodeName, "reason", err.Error())
		return nil
	}
	told := nodeReport{node: pod.Spec.NodeName}
	if json.Unmarshal(document, &told) != nil || told.Now.IsZero() {
		return nil
	}
	return &told
}

// fromMemory lets the API server answer from its memory, which has Pods by their node, and not read all Pods of the namespace from etcd:
// that is many, and one that is gone does not report.
func fromMemory() client.ListOption {
	return &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}
}

// reportsOf are the reports of these nodes, by name; those that do not answer are not there.
func (r *Reconciler) reportsOf(ctx context.Context, s *scope, nodes []string) (map[string]nodeReport, error) {
	var pods []corev1.Pod
	for _, node := range nodes {
		list := &corev1.PodList{}
		err := s.target.Live.List(ctx, list, client.InNamespace(s.cache.Spec.Namespace), client.MatchingLabels(manifests.NodeSyncSelector()),
			client.MatchingFields{"spec.nodeName": node}, fromMemory())
		if err != nil {
			return nil, fmt.Errorf("looking for the Pod of node-sync on node %s: %w", node, err)
		}
		pods = append(pods, list.Items...)
	}
	reports := map[string]nodeReport{}
	for _, told := range r.nodeReports(ctx, s, pods) {
		if told != nil {
			reports[told.node] = *told
		}
	}
	return reports, nil
}
