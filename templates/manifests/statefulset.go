package manifests

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	containerName = "cache"

	configVolume = "config"
	configDir    = "/etc/distribution"
	configKey    = "config.yml"
	configMode   = 0o440

	storeVolume = "store"
	storePath   = "/var/lib/registry"

	// user and group of the process and of its store; the images know no names.
	nonRoot = 65532

	priorityClass   = "system-cluster-critical"
	revisionHistory = 2
)

// statefulSet runs Pods with a store each, and replaces them one by one. Claims go with the StatefulSet; one that is scaled by
// hand keeps them.
func statefulSet(v Values, configHash string) (*appsv1.StatefulSet, error) {
	set := &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: objectMeta(v),
		Spec: appsv1.StatefulSetSpec{
			ServiceName:          v.Name,
			Replicas:             new(replicas(v)),
			PodManagementPolicy:  appsv1.ParallelPodManagement,
			UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			RevisionHistoryLimit: new(int32(revisionHistory)),
			Selector:             &metav1.LabelSelector{MatchLabels: podSelector(v)},
			Template:             podTemplate(v, configHash),
		},
	}
	withAccess(v, &set.Spec.Template.Spec)
	switch v.Volume.Type {
	case addonsv1.PersistentVolumeClaimVolume, "":
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{storeClaim(v)}
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
			WhenScaled:  appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		}
	case addonsv1.EmptyDirVolume:
		set.Spec.Template.Spec.Volumes = append(set.Spec.Template.Spec.Volumes, storeEmptyDir(v))
	default:
		return nil, fmt.Errorf("rendering stateful set: volume type %q is unknown; accepted are PersistentVolumeClaim and EmptyDir", v.Volume.Type)
	}
	return set, nil
}

func podTemplate(v Values, configHash string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: instanceLabels(v),
			Annotations: with(scraped(DebugPort), map[string]string{
				addonsv1.UpstreamAnnotation: v.Upstream,
				ConfigHashAnnotation:        configHash,
			}),
		},
		Spec: withCertificate(v, corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			// The variables of a Service named registry-… would be read as REGISTRY_… configuration.
			EnableServiceLinks:            new(false),
			PriorityClassName:             priorityClass,
			TerminationGracePeriodSeconds: new(int64(gracePeriodSeconds)),
			SecurityContext:               podSecurityContext(),
			Containers:                    []corev1.Container{container(v)},
			NodeSelector:                  v.NodeSelector,
			Tolerations:                   v.Tolerations,
			TopologySpreadConstraints:     spread(v),
			Volumes:                       []corev1.Volume{configSecretVolume(v)},
		}),
	}
}

func podSecurityContext() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot:        new(true),
		RunAsUser:           new(int64(nonRoot)),
		RunAsGroup:          new(int64(nonRoot)),
		FSGroup:             new(int64(nonRoot)),
		FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// container has the arguments of a stock registry, which the workload image takes too.
func container(v Values) corev1.Container {
	return corev1.Container{
		Name:            containerName,
		Image:           v.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args:            []string{"serve", configDir + "/" + configKey},
		Env: append([]corev1.EnvVar{
			// Our image answers nobody who means another upstream; a stock registry does not look at it.
			{Name: "CACHE_UPSTREAM", Value: v.Upstream},
			// A stock registry would send traces to a collector on localhost.
			{Name: "OTEL_TRACES_EXPORTER", Value: "none"},
		}, proxyEnv(v)...),
		Ports: []corev1.ContainerPort{
			{Name: registryPortName, ContainerPort: RegistryPort, Protocol: corev1.ProtocolTCP},
			{Name: debugPortName, ContainerPort: DebugPort, Protocol: corev1.ProtocolTCP},
		},
		Resources: resources(v),
		// A volume that fails makes a cache unready; a restart would not mend it. A stock registry listens only after it has
		// reached its upstream, for which a dial may take 30 s.
		LivenessProbe:            probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(debugPortName)}}, 10, 6),
		ReadinessProbe:           probe(ready(v), 5, 3),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: configVolume, MountPath: configDir, ReadOnly: true},
			{Name: storeVolume, MountPath: storePath},
		},
	}
}

func resources(v Values) corev1.ResourceRequirements {
	if v.Resources != nil {
		return *v.Resources.DeepCopy()
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("20m"),
		corev1.ResourceMemory: resource.MustParse("50Mi"),
	}}
}

func probe(handler corev1.ProbeHandler, periodSeconds, failures int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: handler, PeriodSeconds: periodSeconds, FailureThreshold: failures, TimeoutSeconds: 5}
}

func configSecretVolume(v Values) corev1.Volume {
	return corev1.Volume{Name: configVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: v.Name, DefaultMode: new(int32(configMode))},
	}}
}

func storeEmptyDir(v Values) corev1.Volume {
	return corev1.Volume{Name: storeVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(volumeSize(v))},
	}}
}

func storeClaim(v Values) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: storeVolume, Labels: instanceLabels(v)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:       new(corev1.PersistentVolumeFilesystem),
			StorageClassName: v.Volume.StorageClassName,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: volumeSize(v)},
			},
		},
	}
}

// VolumeSize is the size of the volume that the values ask for.
func VolumeSize(v Values) resource.Quantity { return volumeSize(v) }

// volumeSize is that of the spec, or the default of the API.
func volumeSize(v Values) resource.Quantity {
	if v.Volume.Size != nil {
		return v.Volume.Size.DeepCopy()
	}
	return resource.MustParse("10Gi")
}

func servicePort(name string, port int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: port, TargetPort: intstr.FromString(name), Protocol: corev1.ProtocolTCP}
}
