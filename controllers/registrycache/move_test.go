package registrycache_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache"
)

// TestAMoveChangesNothingInTheWorkloadCluster is `clusterctl move` as it looks from here: the Cluster is paused, RegistryCache and Secrets are
// made anew without a status and with other UIDs, those of before are removed without their finalizers, and the Cluster goes on, with a
// workload cluster that is not connected yet (I2, I5).
func TestAMoveChangesNothingInTheWorkloadCluster(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.3.128/28")
	f.createSecret("hub", map[string]string{"username": "u", "password": "p"})
	f.create("quay.io", "docker.io", "ghcr.io")
	f.ready("quay.io", "docker.io", "ghcr.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	// Addresses that are not those which would be chosen for this spec.
	f.update(func(rc *addonsv1.RegistryCache) {
		rc.Spec.Caches = append([]addonsv1.Cache{{Upstream: "docker.io", CredentialsSecretRef: &addonsv1.SecretReference{Name: "hub"}}}, rc.Spec.Caches[2])
	})
	f.Eventually(f.get(f.service("quay.io"))).Should(notFound())
	want := []string{"https://10.77.3.141:5000", "https://10.77.3.140:5000"}
	f.Eventually(f.endpoints).Should(Equal(want))
	f.Eventually(func() string { return f.current().Annotations[addonsv1.AddressesAnnotation] }).
		Should(Equal(`{"docker.io":"10.77.3.141","ghcr.io":"10.77.3.140"}`))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()

	payload, authority := f.managementSecret(addonsv1.NodePayloadName("c")), f.managementSecret(addonsv1.AuthorityName("c"))
	bundle, running := f.current().Status.CABundle, f.workloadObjects()
	f.Expect(running).NotTo(BeEmpty())

	f.pause(true)
	f.eventually(addonsv1.PausedCondition, metav1.ConditionTrue, "Paused")
	f.move(payload, authority, f.managementSecret("hub"))
	f.Expect(f.current().Status.Caches).To(BeEmpty())
	f.Consistently(f.workloadObjects).Should(Equal(running), "what clusterctl removes in the source is not removed over there")
	f.Expect(f.managementSecret(payload.Name).Data).To(Equal(payload.Data))

	clusters.set(f.cluster, false)
	f.pause(false)
	f.Eventually(f.endpoints).Should(Equal(want))
	f.Consistently(f.endpoints).Should(Equal(want))
	f.eventually(addonsv1.CachesAvailableCondition, metav1.ConditionUnknown, addonsv1.ClusterNotConnectedReason)
	f.Expect(f.current().Status.CABundle).To(Equal(bundle))
	f.Expect(f.managementSecret(payload.Name).Data).To(Equal(payload.Data), "bootstrap templates go on to name the same caches")
	f.Expect(f.managementSecret(authority.Name).Data).To(Equal(authority.Data))

	clusters.set(f.cluster, true)
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.staysSilent()
	f.Expect(f.workloadObjects()).To(Equal(running))
	f.Expect(f.endpoints()).To(Equal(want))
}

// TestAnAnnotationThatIsGoneIsMadeAnewFromServices is a backup without our annotation, as older versions made it: then the Services
// tell, once the workload cluster is connected.
func TestAnAnnotationThatIsGoneIsMadeAnewFromServices(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.3.144/28")
	f.create("docker.io", "quay.io")
	f.ready("docker.io", "quay.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	running := f.workloadObjects()
	f.pause(true)
	f.eventually(addonsv1.PausedCondition, metav1.ConditionTrue, "Paused")
	f.update(func(rc *addonsv1.RegistryCache) {
		delete(rc.Annotations, addonsv1.AddressesAnnotation)
		rc.Spec.Caches[0], rc.Spec.Caches[1] = rc.Spec.Caches[1], rc.Spec.Caches[0]
	})
	f.move(f.managementSecret(addonsv1.AuthorityName("c")))
	f.pause(false)
	f.Eventually(func() string { return f.current().Annotations[addonsv1.AddressesAnnotation] }).
		Should(Equal(`{"docker.io":"10.77.3.158","quay.io":"10.77.3.157"}`))
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Expect(servicesOf(f.workloadObjects())).To(Equal(servicesOf(running)))
}

// TestWhatClusterctlRemovesInTheSourceIsLeftAlone does not rely on the pause of the Cluster.
func TestWhatClusterctlRemovesInTheSourceIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.connected("10.77.3.192/28")
	f.create("docker.io")
	f.ready("docker.io")
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.update(func(rc *addonsv1.RegistryCache) {
		metav1.SetMetaDataAnnotation(&rc.ObjectMeta, clusterctlv1.DeleteForMoveAnnotation, "")
	})
	f.update(func(rc *addonsv1.RegistryCache) { rc.Spec.Caches = caches("docker.io", "quay.io") })
	f.ready("quay.io") // a move that goes no further leaves a RegistryCache that works
	f.eventually(addonsv1.ReadyCondition, metav1.ConditionTrue, "Ready")
	f.Eventually(f.endpoints).Should(HaveLen(2))
	f.staysSilent()
	running := f.workloadObjects()
	f.removeAsSource(f.current())
	f.Consistently(f.workloadObjects).Should(Equal(running))
}

func (f *fixture) managementSecret(name string) *corev1.Secret {
	f.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	f.Expect(f.get(secret)()).To(Succeed())
	return secret
}

// move does to the RegistryCache and to the Secrets what clusterctl does, but for the order: source and target are one namespace.
func (f *fixture) move(secrets ...*corev1.Secret) {
	f.t.Helper()
	for _, secret := range secrets {
		f.Expect(f.movable(secret)).To(BeTrue(), "clusterctl finds Secret %s", secret.Name)
		f.removeAsSource(secret)
	}
	rc := f.current()
	f.removeAsSource(rc)
	f.createAsTarget(rc, nil)
	f.cache = rc
	for _, secret := range secrets {
		f.createAsTarget(secret, rc)
	}
}

// movable tells whether clusterctl takes an object along: by a label of its own, or by owners up to a Cluster.
func (f *fixture) movable(obj client.Object) bool {
	if _, labelled := obj.GetLabels()[clusterctlv1.ClusterctlMoveLabel]; labelled {
		return true
	}
	for _, owner := range obj.GetOwnerReferences() {
		if owner.UID == f.cluster.UID || owner.UID == f.current().UID && f.movable(f.current()) {
			return true
		}
	}
	return false
}

func (f *fixture) removeAsSource(obj client.Object) {
	f.t.Helper()
	copied, _ := obj.DeepCopyObject().(client.Object)
	patch := func(document string) {
		err := env.Client.Patch(f.t.Context(), copied, client.RawPatch("application/merge-patch+json", []byte(document)))
		f.Expect(client.IgnoreNotFound(err)).NotTo(HaveOccurred())
	}
	patch(fmt.Sprintf(`{"metadata":{"annotations":{%q:""}}}`, clusterctlv1.DeleteForMoveAnnotation))
	f.Expect(env.Client.Delete(f.t.Context(), copied)).To(Succeed())
	if len(obj.GetFinalizers()) > 0 {
		f.Consistently(f.get(copied)).WithTimeout(quiet/3).Should(Succeed(), "it is clusterctl who takes the finalizer away")
		patch(`{"metadata":{"finalizers":null}}`)
	}
	f.Eventually(f.get(copied)).Should(notFound())
}

// createAsTarget creates what was read in the source. Owners keep all but their UID.
func (f *fixture) createAsTarget(obj, owner client.Object) {
	f.t.Helper()
	obj.SetResourceVersion("")
	obj.SetUID("")
	references := obj.GetOwnerReferences()
	for i := range references {
		if owner != nil && references[i].Kind == "RegistryCache" {
			references[i].UID = owner.GetUID()
		}
	}
	obj.SetOwnerReferences(references)
	if rc, ok := obj.(*addonsv1.RegistryCache); ok {
		rc.Status = addonsv1.RegistryCacheStatus{}
	}
	f.Expect(env.Client.Create(f.t.Context(), obj)).To(Succeed())
}

// workloadObjects are our objects in the workload cluster, by kind and name, with all that changes when they are written.
func (f *fixture) workloadObjects() map[string]string {
	objects := map[string]string{}
	for _, kind := range registrycache.WorkloadKinds() {
		gvk, err := apiutil.GVKForObject(kind, env.Scheme)
		f.Expect(err).NotTo(HaveOccurred())
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		f.Expect(env.Client.List(f.t.Context(), list, client.InNamespace(f.namespace), client.HasLabels{addonsv1.InstanceLabel})).To(Succeed())
		f.Expect(meta.EachListItem(list, func(item runtime.Object) error {
			obj, err := meta.Accessor(item)
			if err == nil {
				objects[gvk.Kind+" "+obj.GetName()] = fmt.Sprintf("%s %s", obj.GetUID(), obj.GetResourceVersion())
			}
			return err
		})).To(Succeed())
	}
	return objects
}

func servicesOf(objects map[string]string) map[string]string {
	services := map[string]string{}
	for name, version := range objects {
		if len(name) > 8 && name[:8] == "Service " {
			services[name] = version
		}
	}
	return services
}
