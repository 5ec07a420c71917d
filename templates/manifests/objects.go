package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// RegistryPort is the port on which a cache serves images, at its Service as well as at its Pods.
	RegistryPort = 5000
	// DebugPort is the port on which a cache serves health and metrics.
	DebugPort = 5001

	// ConfigHashAnnotation is on the Pods of a cache: the hash of the configuration that they run with.
	ConfigHashAnnotation = "addons.cluster.x-k8s.io/registry-cache-config-hash"

	registryPortName = "registry"
	debugPortName    = "debug"
)

// Values is what the objects of one cache are made of.
type Values struct {
	// Namespace and Name of the objects; Name is what ServiceName returns for Upstream.
	Namespace, Name string
	// Upstream is the registry that is cached, as image references name it.
	Upstream string
	// RemoteURL is where the cache pulls from.
	RemoteURL string
	// ClusterIP is the address of the Service, IPv4 or IPv6; if empty the API server assigns one.
	ClusterIP string
	// Image is the workload image of this project or that of a stock distribution registry.
	Image string
	// Stock says that Image may be another than ours: it may serve TLS or plain HTTP, not both, and read its certificate once.
	Stock bool
	// TLS says that nodes reach the cache by TLS.
	TLS bool
	// Volume holds the store; what is not set has the default of the API.
	Volume addonsv1.Volume
	// TTL is how long a blob is kept after it was pulled; 0 is for ever.
	TTL time.Duration
	// HighWatermarkPercent is the share of the volume above which blobs are evicted; 0 is the default of the API.
	HighWatermarkPercent int32
	// RevalidateAfter is how long a tag is answered without asking the upstream.
	RevalidateAfter time.Duration
	// Proxy is the egress proxy; nil: none. ClusterNetworks are CIDRs and domains that are reached without it besides its own list.
	Proxy           *addonsv1.Proxy
	ClusterNetworks []string
	// Replicas is the number of Pods; 0 is the default of the API.
	Replicas int32
	// NodeSelector and Tolerations say where Pods run.
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	// Resources of the container; nil is requests of 20m CPU and 50Mi memory.
	Resources *corev1.ResourceRequirements
	// Access is what the cache asks its upstream with.
	Access Access
}

// Objects returns the objects of one cache, with TypeMeta set, in the order in which they are to be applied: the
// Namespace unless every cluster has it, the Secret with the configuration, those of AccessSecrets whose content is known, the
// Service, the NetworkPolicy, a PodDisruptionBudget if there are several Pods, the StatefulSet. The Namespace does not match
// Selector: it may hold what others put there, so it is never removed. If v is Certified, CertificateSecret has to be there before
// the StatefulSet.
//
// It fails on a ClusterIP that is no address and on a volume type that the API does not have.
func Objects(v Values) ([]client.Object, error) {
	config, err := configFile(v)
	if err != nil {
		return nil, fmt.Errorf("rendering registry config: %w", err)
	}
	service, err := service(v)
	if err != nil {
		return nil, err
	}
	statefulSet, err := statefulSet(v, hash(config))
	if err != nil {
		return nil, err
	}
	secrets, err := accessSecrets(v)
	if err != nil {
		return nil, fmt.Errorf("rendering credentials: %w", err)
	}
	objects := append([]client.Object{configSecret(v, config)}, secrets...)
	objects = append(objects, service, networkPolicy(objectMeta(v), podSelector(v), RegistryPort, DebugPort))
	objects = append(append(objects, disruptionBudgets(v)...), statefulSet)
	if everywhere(v.Namespace) {
		return objects, nil
	}
	return append([]client.Object{namespace(v.Namespace)}, objects...), nil
}

// everywhere tells whether every cluster has a namespace.
func everywhere(namespace string) bool {
	return namespace == metav1.NamespaceSystem || namespace == metav1.NamespaceDefault
}

// Labels returns the labels of every object of every cache; objects without them are not ours.
func Labels() map[string]string {
	return map[string]string{
		addonsv1.ManagedByLabel: addonsv1.ManagedByValue,
		addonsv1.NameLabel:      addonsv1.NameValue,
	}
}

// Selector matches the objects of all caches, and nothing else.
func Selector() labels.Selector { return labels.SelectorFromSet(Labels()) }

// instanceLabels are on the objects of one cache.
func instanceLabels(v Values) map[string]string {
	all := Labels()
	all[addonsv1.InstanceLabel] = v.Name
	return all
}

// podSelector is what a Service and a StatefulSet select; it can never change.
func podSelector(v Values) map[string]string {
	return map[string]string{addonsv1.NameLabel: addonsv1.NameValue, addonsv1.InstanceLabel: v.Name}
}

func objectMeta(v Values) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:   v.Namespace,
		Name:        v.Name,
		Labels:      instanceLabels(v),
		Annotations: map[string]string{addonsv1.UpstreamAnnotation: v.Upstream},
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
}

// configSecret holds the configuration. It is a Secret and no ConfigMap, because an upstream's name can be one that
// not everyone in the cluster needs to know, and because distribution takes credentials in the same file.
func configSecret(v Values, config []byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: objectMeta(v),
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{configKey: config},
	}
}

func service(v Values) (*corev1.Service, error) {
	policy := corev1.IPFamilyPolicySingleStack
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: objectMeta(v),
		Spec: corev1.ServiceSpec{
			Type:           corev1.ServiceTypeClusterIP,
			IPFamilyPolicy: &policy,
			Selector:       podSelector(v),
			Ports: []corev1.ServicePort{
				servicePort(registryPortName, RegistryPort),
				servicePort(debugPortName, DebugPort),
			},
		},
	}
	if v.ClusterIP == "" {
		return service, nil
	}
	address, err := netip.ParseAddr(v.ClusterIP)
	if err != nil {
		return nil, fmt.Errorf("rendering service: cluster IP %q is not an address; accepted are IPv4 and IPv6 addresses", v.ClusterIP)
	}
	service.Spec.ClusterIP = address.String()
	service.Spec.ClusterIPs = []string{address.String()}
	service.Spec.IPFamilies = []corev1.IPFamily{family(address)}
	return service, nil
}

func family(address netip.Addr) corev1.IPFamily {
	if address.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])[:16]
}

func portAddr(port int32) string { return ":" + strconv.Itoa(int(port)) }
