// Package overview is how the RegistryCaches of many Clusters are, at a glance. It says what the objects say, and what is wrong in the words
// of the first condition that is not as it should be.
package overview

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/counters"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
)

// atATime is how many workload clusters are asked at the same time.
const atATime = 10

// Values of status.caches[].inUse.
const inUse = "InUse"

// Row is one Cluster.
type Row struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Ready is the status of the condition: True, False or Unknown, which it also is before a manager has looked.
	Ready     string   `json:"ready"`
	Paused    bool     `json:"paused,omitempty"`
	Upstreams []string `json:"upstreams"`
	// CachesReady serve, of Caches in the spec.
	CachesReady int `json:"cachesReady"`
	Caches      int `json:"caches"`
	// NodesConfigured of Nodes do as the spec says; nil while nobody counts them.
	NodesConfigured *int32 `json:"nodesConfigured,omitempty"`
	Nodes           *int32 `json:"nodes,omitempty"`
	// InUse caches are pulled through, of all caches of which that is known; nil if it is known of none.
	InUse      *int `json:"inUse,omitempty"`
	InUseKnown *int `json:"inUseKnown,omitempty"`
	// HitRatio and SavedBytes are since the caches started, if they were asked and answered.
	HitRatio   *float64 `json:"hitRatio,omitempty"`
	SavedBytes *int64   `json:"savedBytes,omitempty"`
	// Created is when the RegistryCache was.
	Created metav1.Time `json:"created"`
	// Condition is the first that is not as it should be, Message what it says.
	Condition string `json:"condition,omitempty"`
	Message   string `json:"message,omitempty"`

	cache *v1alpha1.RegistryCache
}

// List returns a row for each RegistryCache of a namespace, or of all if that is "", by namespace and name. A name limits it to one, and
// it is an error if that is not there.
func List(ctx context.Context, management client.Client, namespace, name string) ([]Row, error) {
	objects, err := read(ctx, management, namespace, name)
	if err != nil {
		return nil, err
	}
	rows := []Row{}
	for _, object := range objects {
		row, err := row(object)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return rows, nil
}

// read takes objects as they are: plugin and CRD may be of different releases, and what either does not know is left out.
func read(ctx context.Context, management client.Client, namespace, name string) ([]unstructured.Unstructured, error) {
	kind := v1alpha1.GroupVersion.WithKind("RegistryCache")
	if name != "" {
		object := unstructured.Unstructured{}
		object.SetGroupVersionKind(kind)
		if err := management.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &object); err != nil {
			return nil, fmt.Errorf("reading RegistryCache %s/%s: %w", namespace, name, err)
		}
		return []unstructured.Unstructured{object}, nil
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	if err := management.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing RegistryCaches: %w", err)
	}
	return list.Items, nil
}

func row(object unstructured.Unstructured) (Row, error) {
	rc := &v1alpha1.RegistryCache{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, rc); err != nil {
		return Row{}, fmt.Errorf("reading RegistryCache %s/%s: %w", object.GetNamespace(), object.GetName(), err)
	}
	r := Row{
		Namespace: rc.Namespace, Name: rc.Name, Ready: string(metav1.ConditionUnknown), Upstreams: upstreams(rc.Spec),
		Caches: len(rc.Spec.Caches), CachesReady: ready(rc), Created: rc.CreationTimestamp, cache: rc,
		Paused: apimeta.IsStatusConditionTrue(rc.Status.Conditions, v1alpha1.PausedCondition),
	}
	if nodes := rc.Status.Nodes; nodes != nil {
		r.Nodes, r.NodesConfigured = ptr.To(ptr.Deref(nodes.Total, 0)), ptr.To(ptr.Deref(nodes.Configured, 0))
	}
	r.countUse(object)
	r.findTrouble()
	return r, nil
}

func upstreams(spec v1alpha1.RegistryCacheSpec) []string {
	all := []string{}
	for _, cache := range spec.Caches {
		all = append(all, cache.Upstream)
	}
	for _, mirror := range spec.Mirrors {
		if !slices.Contains(all, mirror.Upstream) {
			all = append(all, mirror.Upstream)
		}
	}
	return all
}

func ready(rc *v1alpha1.RegistryCache) int {
	count := 0
	for _, cache := range rc.Spec.Caches {
		if slices.ContainsFunc(rc.Status.Caches, func(s v1alpha1.CacheStatus) bool {
			return s.Upstream == cache.Upstream && ptr.Deref(s.ReadyReplicas, 0) > 0
		}) {
			count++
		}
	}
	return count
}

// countUse reads status.caches[].inUse by its name.
func (r *Row) countUse(object unstructured.Unstructured) {
	caches, _, _ := unstructured.NestedSlice(object.Object, "status", "caches")
	for _, c := range caches {
		status, _ := c.(map[string]any)
		value, found, _ := unstructured.NestedString(status, "inUse")
		if !found || value == "" {
			continue
		}
		if r.InUse == nil {
			r.InUse, r.InUseKnown = new(int), new(int)
		}
		*r.InUseKnown++
		if value == inUse {
			*r.InUse++
		}
	}
}

// findTrouble takes the first condition that is False, else the first that is Unknown and keeps Ready from being true.
func (r *Row) findTrouble() {
	conditions := r.cache.Status.Conditions
	condition := apimeta.FindStatusCondition(conditions, v1alpha1.ReadyCondition)
	if condition == nil {
		r.Message = "no manager has looked at it"
		return
	}
	r.Ready = string(condition.Status)
	for _, status := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionUnknown} {
		for _, c := range conditions {
			counts := c.Type != v1alpha1.ReadyCondition && c.Type != v1alpha1.PausedCondition
			if counts && c.Status == status && (status == metav1.ConditionFalse || r.Ready != string(metav1.ConditionTrue)) {
				r.Condition, r.Message = c.Type, c.Message
				return
			}
		}
	}
}

// Count asks the caches of all rows for their counters, some Clusters at a time. Progress is called with how many were asked. What cannot be
// reached stays unknown; the errors say why, in no order.
func Count(ctx context.Context, rows []Row, connect func(context.Context, client.ObjectKey) (*reach.Workload, error), progress func(done int)) []error {
	var asking sync.WaitGroup
	var mutex sync.Mutex
	var errs []error
	var done atomic.Int32
	slots := make(chan struct{}, atATime)
	for i := range rows {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := rows[i].count(ctx, connect)
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s/%s: %w", rows[i].Namespace, rows[i].Name, err))
			}
			progress(int(done.Add(1)))
		})
	}
	asking.Wait()
	return errs
}

func (r *Row) count(ctx context.Context, connect func(context.Context, client.ObjectKey) (*reach.Workload, error)) error {
	if r.Caches == 0 {
		return nil
	}
	workload, err := connect(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Name})
	if err != nil {
		return err
	}
	if err := workload.Answers(ctx); err != nil { // else each Pod would be waited for
		return err
	}
	savings, err := counters.Read(ctx, workload.Pods, r.cache)
	for _, cache := range savings.Caches {
		if cache.Answered > 0 {
			r.HitRatio, r.SavedBytes = savings.Total.HitRatio(), ptr.To(savings.Total.SavedBytes())
		}
	}
	return err
}
