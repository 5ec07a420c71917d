package registrycache

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const (
	// namedNodes is how many nodes a condition and an Event name.
	namedNodes = 10
	// nodesPoll is how soon nodes with a trouble are asked again; that they are ready again is told by a watch.
	nodesPoll = time.Minute
)

// observeNodes counts the nodes that do as they are told. The DaemonSet knows when all do; otherwise nodes and Pods are looked
// at one by one, and the first few that have a trouble are asked for it.
func (r *Reconciler) observeNodes(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.nodes.ignored {
		s.cache.Status.Nodes = nil
		return ctrl.Result{}, nil
	}
	if s.nodes.rejected != "" {
		return ctrl.Result{}, nil
	}
	all, err := r.allConfigured(ctx, s)
	if err == nil && !all {
		err = r.lookAtNodes(ctx, s)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	s.cache.Status.Nodes = &addonsv1.NodesStatus{Total: ptr.To(s.nodes.total), Configured: ptr.To(s.nodes.configured)}
	if s.nodes.configured < s.nodes.total {
		return ctrl.Result{RequeueAfter: nodesPoll}, nil
	}
	return ctrl.Result{}, nil
}

// allConfigured asks the DaemonSet, from the cache.
func (r *Reconciler) allConfigured(ctx context.Context, s *scope) (bool, error) {
	set := &appsv1.DaemonSet{}
	if err := s.target.Client.Get(ctx, client.ObjectKey{Namespace: s.cache.Spec.Namespace, Name: manifests.NodeSyncName}, set); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	status := set.Status
	s.nodes.total, s.nodes.configured = status.DesiredNumberScheduled, status.NumberReady
	return set.Spec.Template.Annotations[manifests.GenerationAnnotation] == s.nodes.generation && status.ObservedGeneration == set.Generation &&
		status.DesiredNumberScheduled > 0 && status.UpdatedNumberScheduled == status.DesiredNumberScheduled && status.NumberReady == status.DesiredNumberScheduled, nil
}

// lookAtNodes reads from the API server: caches of workload clusters hold only our own objects, and no Pods.
func (r *Reconciler) lookAtNodes(ctx context.Context, s *scope) error {
	nodes := &metav1.PartialObjectMetadataList{}
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := s.target.Live.List(ctx, nodes, client.MatchingLabels{corev1.LabelOSStable: string(corev1.Linux)}); err != nil {
		return fmt.Errorf("listing the nodes of the workload cluster: %w", err)
	}
	pods := &corev1.PodList{}
	if err := s.target.Live.List(ctx, pods, client.InNamespace(s.cache.Spec.Namespace), client.MatchingLabels(manifests.NodeSyncSelector())); err != nil {
		return fmt.Errorf("listing the Pods of node-sync: %w", err)
	}
	byNode := map[string]*corev1.Pod{}
	for i, pod := range pods.Items {
		if pod.Annotations[manifests.GenerationAnnotation] == s.nodes.generation && pod.DeletionTimestamp.IsZero() {
			byNode[pod.Spec.NodeName] = &pods.Items[i]
		}
	}
	slices.SortFunc(nodes.Items, func(a, b metav1.PartialObjectMetadata) int { return strings.Compare(a.Name, b.Name) })
	s.nodes.total, s.nodes.configured = int32(len(nodes.Items)), 0 //nolint:gosec // far below the limit
	for _, n := range nodes.Items {
		r.lookAt(ctx, s, n.Name, byNode[n.Name])
	}
	return nil
}

func (r *Reconciler) lookAt(ctx context.Context, s *scope, name string, pod *corev1.Pod) {
	started, ready := condition(pod)
	if ready {
		s.nodes.configured++
		return
	}
	if !started {
		s.nodes.pending = append(s.nodes.pending, name)
	}
	if len(s.nodes.troubles) < namedNodes {
		s.nodes.troubles = append(s.nodes.troubles, name+": "+r.trouble(ctx, s, pod))
	}
}

// condition is that of a node, as the probes of its Pod have it: started means that it has taken over.
func condition(pod *corev1.Pod) (started, ready bool) {
	if pod == nil || len(pod.Status.ContainerStatuses) == 0 {
		return false, false
	}
	status := pod.Status.ContainerStatuses[0]
	for _, c := range pod.Status.Conditions { // the node's own condition counts too
		if c.Type == corev1.PodReady {
			ready = c.Status == corev1.ConditionTrue
		}
	}
	return ptr.Deref(status.Started, false), ready
}

// trouble asks node-sync what keeps a node.
func (r *Reconciler) trouble(ctx context.Context, s *scope, pod *corev1.Pod) string {
	if pod == nil {
		return "node-sync does not run there yet"
	}
	if pod.Status.Phase != corev1.PodRunning {
		return "node-sync does not run there yet, Pod " + pod.Name + " is " + string(pod.Status.Phase)
	}
	document, err := r.Workloads.NodeReport(ctx, s.clusterKey(), client.ObjectKeyFromObject(pod))
	var report struct {
		Problems []struct{ Upstream, Message string }
	}
	if err != nil || json.Unmarshal(document, &report) != nil || len(report.Problems) == 0 {
		return "not ready, the log of Pod " + pod.Name + " says more"
	}
	var messages []string
	for _, p := range report.Problems {
		message := p.Message
		if p.Upstream != "" {
			message = p.Upstream + ": " + message
		}
		if !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
	}
	return strings.Join(messages, "; ")
}
