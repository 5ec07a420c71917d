package manifests

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// replicas is that of the spec, or the default of the API.
func replicas(v Values) int32 {
	if v.Replicas == 0 {
		return 1
	}
	return v.Replicas
}

// spread keeps the Pods of one cache on different nodes and in different zones as far as there are some: a cache on a
// full cluster is worth more than none. One Pod has it too, so that another one beside it does not replace the first.
func spread(v Values) []corev1.TopologySpreadConstraint {
	var constraints []corev1.TopologySpreadConstraint
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		constraints = append(constraints, corev1.TopologySpreadConstraint{
			MaxSkew:           1,
			TopologyKey:       key,
			WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector:     &metav1.LabelSelector{MatchLabels: podSelector(v)},
		})
	}
	return constraints
}

// disruptionBudgets lets drained nodes take one Pod of a cache at a time. One that is not ready is no loss, and may go at any
// time. A cache of one Pod has none: it would only keep nodes from being drained, while pulls go on without the cache.
func disruptionBudgets(v Values) []client.Object {
	if replicas(v) == 1 {
		return nil
	}
	one, always := intstr.FromInt32(1), policyv1.AlwaysAllow
	return []client.Object{&policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: objectMeta(v),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             &one,
			Selector:                   &metav1.LabelSelector{MatchLabels: podSelector(v)},
			UnhealthyPodEvictionPolicy: &always,
		},
	}}
}

// ClaimOrdinal returns which Pod of a cache a claim belongs to, by its name, as the StatefulSet controller makes it; false
// if it is no claim of that cache.
func ClaimOrdinal(claim, name string) (int, bool) {
	number, found := strings.CutPrefix(claim, storeVolume+"-"+name+"-")
	ordinal, err := strconv.Atoi(number)
	return ordinal, found && err == nil && ordinal >= 0
}
