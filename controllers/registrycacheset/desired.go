package registrycacheset

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// desired is the RegistryCache that the set wants for a Cluster, made of the one that it has; nil: it has none.
func (s *scope) desired(cluster *clusterv1.Cluster, cache *addonsv1.RegistryCache) *addonsv1.RegistryCache {
	rc := &addonsv1.RegistryCache{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: cluster.Name}}
	if cache != nil {
		rc = cache.DeepCopy()
	}
	s.setMetadata(rc)
	s.setOwners(rc, cluster, cache == nil)
	rc.Spec = *s.set.Spec.Template.Spec.DeepCopy()
	return rc
}

// same says whether two RegistryCaches agree in what a set decides. Both have the defaults of the API server.
func same(a, b *addonsv1.RegistryCache) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

// setOwners makes the set the controller. The Cluster is an owner from the beginning, so that the RegistryCache is moved along with it.
func (s *scope) setOwners(rc *addonsv1.RegistryCache, cluster *clusterv1.Cluster, isNew bool) {
	controller := *metav1.NewControllerRef(s.set, addonsv1.GroupVersion.WithKind("RegistryCacheSet"))
	controller.BlockOwnerDeletion = ptr.To(false) // the set has a finalizer, and needs no right to hold up its own deletion
	rc.OwnerReferences = slices.DeleteFunc(rc.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ptr.Deref(ref.Controller, false) && ref.UID != controller.UID
	})
	rc.OwnerReferences = util.EnsureOwnerRef(rc.OwnerReferences, controller)
	if isNew {
		rc.OwnerReferences = util.EnsureOwnerRef(rc.OwnerReferences, metav1.OwnerReference{
			APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: cluster.Name, UID: cluster.UID,
		})
	}
}

// fromTemplate are the keys of labels and annotations that a RegistryCache has of the template.
type fromTemplate struct {
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
}

// setMetadata gives a RegistryCache the labels and annotations of the template, and takes off it those that a template gave it before.
// A manager that heeds only objects with CAPI's watch label heeds it if it heeds the set.
func (s *scope) setMetadata(rc *addonsv1.RegistryCache) {
	template := s.set.Spec.Template.ObjectMeta
	takeBack(rc)
	maps.Copy(ensure(&rc.Annotations), template.Annotations)
	maps.Copy(ensure(&rc.Labels), template.Labels)
	rc.Labels[clusterv1.ClusterNameLabel] = rc.Name
	rc.Labels[addonsv1.SetLabel] = s.set.Name
	if watched, ok := s.set.Labels[clusterv1.WatchLabel]; ok {
		rc.Labels[clusterv1.WatchLabel] = watched
	}
	if len(template.Labels)+len(template.Annotations) > 0 {
		record, _ := json.Marshal(fromTemplate{slices.Sorted(maps.Keys(template.Labels)), slices.Sorted(maps.Keys(template.Annotations))}) // strings: never fails
		rc.Annotations[addonsv1.SetMetadataAnnotation] = string(record)
	}
}

// takeBack takes off a RegistryCache what it has of a template, by the record of it. A record that cannot be read says nothing.
func takeBack(rc *addonsv1.RegistryCache) {
	record := fromTemplate{}
	_ = json.Unmarshal([]byte(rc.Annotations[addonsv1.SetMetadataAnnotation]), &record)
	for _, key := range record.Labels {
		delete(rc.Labels, key)
	}
	for _, key := range record.Annotations {
		delete(rc.Annotations, key)
	}
	delete(rc.Annotations, addonsv1.SetMetadataAnnotation)
}

func ensure(m *map[string]string) map[string]string {
	if *m == nil {
		*m = map[string]string{}
	}
	return *m
}

func setKey(m *map[string]string, key, value string) { ensure(m)[key] = value }
