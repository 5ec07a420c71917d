package manifests

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// NodeSyncName is the name of the DaemonSet that configures existing nodes; the instance label of its objects has it too.
	NodeSyncName = "registry-cache-node-sync"
	// NodeSyncPort is the port on which its Pods report and serve metrics.
	NodeSyncPort = 5002
	// NodeSyncPortName is the name of that port.
	NodeSyncPortName = "report"

	// GenerationAnnotation is on the Pods of node-sync: the desired state that they stand for.
	GenerationAnnotation = "addons.cluster.x-k8s.io/registry-cache-generation"

	desiredVolume = "desired"
	desiredDir    = "/desired"
	desiredKey    = "state.json"
	hostRoot      = "/host"
	busDir        = "/run/dbus"

	nodePriorityClass = "system-node-critical"
)

// NodeSyncValues is what the objects of node-sync are made of.
type NodeSyncValues struct {
	// Namespace of the objects.
	Namespace string
	// Image is the workload image of this project.
	Image string
	// Generation names the desired state, Document is what node-sync reads it from.
	Generation string
	Document   []byte
}

// NodeSyncObjects returns the objects of node-sync, with TypeMeta set, in the order in which they are to be applied: the
// Namespace unless every cluster has it, the ConfigMap with the desired state, the NetworkPolicy that lets the API server ask for
// reports, the DaemonSet.
func NodeSyncObjects(v NodeSyncValues) []client.Object {
	meta := metav1.ObjectMeta{Namespace: v.Namespace, Name: NodeSyncName, Labels: nodeSyncLabels()}
	objects := []client.Object{desiredState(v), networkPolicy(meta, NodeSyncSelector(), NodeSyncPort), nodeSync(v)}
	if everywhere(v.Namespace) {
		return objects
	}
	return append([]client.Object{namespace(v.Namespace)}, objects...)
}

func nodeSyncLabels() map[string]string {
	all := Labels()
	all[addonsv1.InstanceLabel] = NodeSyncName
	return all
}

// NodeSyncSelector are the labels that the Pods of node-sync have; it can never change.
func NodeSyncSelector() map[string]string {
	return map[string]string{addonsv1.NameLabel: addonsv1.NameValue, addonsv1.InstanceLabel: NodeSyncName}
}

// desiredState has the generation in its name and never changes, so that a Pod never sees another one than it stands for.
func desiredState(v NodeSyncValues) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: v.Namespace, Name: desiredName(v), Labels: nodeSyncLabels()},
		Immutable:  new(true),
		Data:       map[string]string{desiredKey: string(v.Document)},
	}
}

func desiredName(v NodeSyncValues) string { return NodeSyncName + "-" + v.Generation }

// nodeSync replaces its Pods all at once: each does its work for its own node, and nodes go on with what they have.
func nodeSync(v NodeSyncValues) *appsv1.DaemonSet {
	all := intstr.FromString("100%")
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: v.Namespace, Name: NodeSyncName, Labels: nodeSyncLabels()},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: NodeSyncSelector()},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &all},
			},
			RevisionHistoryLimit: new(int32(revisionHistory)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      nodeSyncLabels(),
					Annotations: with(scraped(NodeSyncPort), map[string]string{GenerationAnnotation: v.Generation}),
				},
				Spec: nodeSyncPod(v),
			},
		},
	}
}

// nodeSyncPod runs on every Linux node, whatever its taints. It needs no network but its own, no process of the node, and no
// credentials of the API server.
func nodeSyncPod(v NodeSyncValues) corev1.PodSpec {
	volumes, mounts := nodeDirectories()
	volumes = append(volumes, corev1.Volume{Name: desiredVolume, VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: desiredName(v)}},
	}})
	mounts = append(mounts, corev1.VolumeMount{Name: desiredVolume, MountPath: desiredDir, ReadOnly: true})
	return corev1.PodSpec{
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		PriorityClassName:             nodePriorityClass,
		TerminationGracePeriodSeconds: new(int64(5)),
		NodeSelector:                  map[string]string{corev1.LabelOSStable: string(corev1.Linux)},
		Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		Containers:                    []corev1.Container{nodeSyncContainer(v, mounts)},
		Volumes:                       volumes,
	}
}

// nodeSyncContainer has started once the node's unit has taken over the generation, however long that takes, and is ready
// while the node is configured.
func nodeSyncContainer(v NodeSyncValues, mounts []corev1.VolumeMount) corev1.Container {
	started := probe(report("/startz"), 2, math.MaxInt32)
	return corev1.Container{
		Name:            "node-sync",
		Image:           v.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/node-sync"},
		Args:            []string{"--root=" + hostRoot, desiredDir + "/" + desiredKey},
		Env: []corev1.EnvVar{
			{Name: "DBUS_SYSTEM_BUS_ADDRESS", Value: "unix:path=" + busDir + "/system_bus_socket"},
			{Name: "GOMAXPROCS", Value: "1"},
		},
		Ports: []corev1.ContainerPort{{Name: NodeSyncPortName, ContainerPort: NodeSyncPort, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("20Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
		StartupProbe:             started,
		ReadinessProbe:           probe(report("/readyz"), 5, 1),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          nodeSyncSecurity(),
		VolumeMounts:             mounts,
	}
}

func report(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(NodeSyncPortName)}}
}

// nodeSyncSecurity is root, because root owns the files and systemd listens to root, and nothing beyond. Where SELinux is
// enforced, only its type for such Pods may write to the node.
func nodeSyncSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:                new(int64(0)),
		RunAsGroup:               new(int64(0)),
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		SELinuxOptions:           &corev1.SELinuxOptions{Type: "spc_t"},
	}
}

// nodeDirectories are those that node-sync writes to, the state of the unit, and the system bus.
func nodeDirectories() ([]corev1.Volume, []corev1.VolumeMount) {
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	for _, d := range []struct {
		name, path, mount string
		kind              corev1.HostPathType
		readOnly          bool
	}{
		{"state", "/etc/capi-registry-cache", "", corev1.HostPathDirectoryOrCreate, false},
		{"script", "/opt/bin", "", corev1.HostPathDirectoryOrCreate, false},
		{"unit", "/etc/systemd/system", "", corev1.HostPathDirectoryOrCreate, false},
		{"observed", "/run/capi-registry-cache", "", corev1.HostPathDirectoryOrCreate, true},
		{"bus", busDir, busDir, corev1.HostPathUnset, true},
	} {
		if d.mount == "" {
			d.mount = hostRoot + d.path
		}
		volumes = append(volumes, corev1.Volume{Name: d.name, VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: d.path, Type: &d.kind},
		}})
		mounts = append(mounts, corev1.VolumeMount{Name: d.name, MountPath: d.mount, ReadOnly: d.readOnly})
	}
	return volumes, mounts
}
