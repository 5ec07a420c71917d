package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// notInLabelNames is what Prometheus replaces in the names of labels and annotations.
var notInLabelNames = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// targetGroup is a target as Prometheus' HTTP discovery takes it.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// serveTargets answers, at an address of this machine, with the Pods of a cluster that have some labels, as Kubernetes' service discovery of
// Prometheus tells of them (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod). The management cluster is that
// without a name.
func serveTargets(address string, clusters map[string]client.Reader) (*httptest.Server, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("serving the targets of Prometheus: %w", err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		groups, err := podTargets(r.Context(), clusters[r.URL.Query().Get("cluster")], r.URL.Query().Get("label"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(groups) // the other side went away
	}))
	err = server.Listener.Close()
	server.Listener = listener
	server.Start()
	return server, err
}

func podTargets(ctx context.Context, c client.Reader, label string) ([]targetGroup, error) {
	wanted, err := labels.Parse(label)
	if err != nil {
		return nil, err
	}
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, client.MatchingLabelsSelector{Selector: wanted}); err != nil {
		return nil, err
	}
	groups := []targetGroup{}
	for i := range pods.Items {
		groups = append(groups, targetsOf(&pods.Items[i])...)
	}
	return groups, nil
}

// targetsOf has a target for each port of a Pod that has an address.
func targetsOf(pod *corev1.Pod) []targetGroup {
	if pod.Status.PodIP == "" {
		return nil
	}
	common := map[string]string{
		"__meta_kubernetes_namespace":     pod.Namespace,
		"__meta_kubernetes_pod_name":      pod.Name,
		"__meta_kubernetes_pod_ip":        pod.Status.PodIP,
		"__meta_kubernetes_pod_phase":     string(pod.Status.Phase),
		"__meta_kubernetes_pod_node_name": pod.Spec.NodeName,
	}
	addAll(common, "label", pod.Labels)
	addAll(common, "annotation", pod.Annotations)
	var groups []targetGroup
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			number := strconv.Itoa(int(port.ContainerPort))
			all := maps.Clone(common)
			all["__meta_kubernetes_pod_container_name"] = container.Name
			all["__meta_kubernetes_pod_container_port_name"] = port.Name
			all["__meta_kubernetes_pod_container_port_number"] = number
			groups = append(groups, targetGroup{Targets: []string{net.JoinHostPort(pod.Status.PodIP, number)}, Labels: all})
		}
	}
	return groups
}

func addAll(to map[string]string, kind string, values map[string]string) {
	for name, value := range values {
		name = notInLabelNames.ReplaceAllString(name, "_")
		to["__meta_kubernetes_pod_"+kind+"_"+name] = value
		to["__meta_kubernetes_pod_"+kind+"present_"+name] = "true"
	}
}
