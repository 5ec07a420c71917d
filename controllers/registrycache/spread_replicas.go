package registrycache

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const (
	// nodeSettles is how long a node has to be ready before a replica waits for it no longer; drivers of volumes come up meanwhile.
	nodeSettles = 15 * time.Second
	// spreadPoll is how soon nodes are counted again while a replica waits for one.
	spreadPoll = 30 * time.Second
)

// spreadReplicas lets a cache have no more Pods than there are nodes for them. On a new cluster all would start on the first worker, and
// stay there with their volumes; a scheduling constraint that has to hold would keep the StatefulSet from being rolled while one is pending.
// A Pod that is there is never taken away because of its node.
func (r *Reconciler) spreadReplicas(ctx context.Context, s *scope, cache addonsv1.Cache, entry *addonsv1.CacheStatus, values *manifests.Values) (ctrl.Result, error) {
	wanted := ptr.Deref(cache.Replicas, 1)
	there, err := replicasOf(ctx, s, entry)
	if err != nil || wanted <= max(1, there) {
		return ctrl.Result{}, err
	}
	nodes := &corev1.NodeList{}
	selector := labels.SelectorFromSet(labels.Merge(labels.Set{corev1.LabelOSStable: string(corev1.Linux)}, cache.NodeSelector))
	if err := s.target.Live.List(ctx, nodes, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing the nodes of the workload cluster: %w", err)
	}
	room := int32(0)
	for i := range nodes.Items {
		if takesPods(&nodes.Items[i], cache.Tolerations, s.now) {
			room++
		}
	}
	if room >= wanted {
		return ctrl.Result{}, nil
	}
	values.Replicas = max(1, there, room)
	return ctrl.Result{RequeueAfter: spreadPoll}, nil
}

// replicasOf is how many Pods a cache has been given, also while its StatefulSet is made anew.
func replicasOf(ctx context.Context, s *scope, entry *addonsv1.CacheStatus) (int32, error) {
	set := &appsv1.StatefulSet{}
	err := s.target.Client.Get(ctx, client.ObjectKey{Namespace: s.cache.Spec.Namespace, Name: entry.ServiceName}, set)
	if client.IgnoreNotFound(err) != nil {
		return 0, err
	}
	return max(ptr.Deref(set.Spec.Replicas, 0), ptr.Deref(entry.ReadyReplicas, 0)), nil
}

// takesPods says whether a Pod of a cache may start on a node now.
func takesPods(node *corev1.Node, tolerations []corev1.Toleration, now time.Time) bool {
	if node.Spec.Unschedulable || !node.DeletionTimestamp.IsZero() {
		return false
	}
	for i := range node.Spec.Taints {
		if taint := &node.Spec.Taints[i]; taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(tolerations, taint) {
			return false
		}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue && now.Sub(c.LastTransitionTime.Time) >= nodeSettles
		}
	}
	return false
}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Background(), taint, false) {
			return true
		}
	}
	return false
}
