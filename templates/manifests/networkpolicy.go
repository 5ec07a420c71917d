package manifests

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// networkPolicy opens ports of Pods to everybody, in namespaces that deny by default too, and closes all others. Whom it opens
// them to cannot be said more narrowly: nodes pull from their own network, whose addresses a NetworkPolicy has no safe words
// for (docs/access.md). What Pods may reach themselves is left to others.
func networkPolicy(meta metav1.ObjectMeta, pods map[string]string, ports ...int32) *networkingv1.NetworkPolicy {
	tcp := corev1.ProtocolTCP
	var open []networkingv1.NetworkPolicyPort
	for _, port := range ports {
		number := intstr.FromInt32(port)
		open = append(open, networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: &number})
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: pods},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: open}},
		},
	}
}
