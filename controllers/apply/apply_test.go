package apply_test

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/apply"
)

var ours = labels.Set{"app.kubernetes.io/managed-by": "capi-registry-cache"}

// target is an empty cluster that counts server-side applies.
func target(objects ...client.Object) (apply.Target, *int) {
	applies := 0
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			applies++
			return c.Apply(ctx, obj, opts...)
		},
	}).Build()
	return apply.Target{Cluster: client.ObjectKey{Name: "c"}, Client: c, Live: c, Ours: ours.AsSelector()}, &applies
}

func service(port int32) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", Labels: ours},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "registry", Port: port, Protocol: corev1.ProtocolTCP}}},
	}
}

// TestApplyWritesOnlyWhatChanged guards I6.
func TestApplyWritesOnlyWhatChanged(t *testing.T) {
	g := NewWithT(t)
	to, applies := target()
	applier := apply.New()
	expect := func(obj client.Object, want apply.Outcome, total int) {
		t.Helper()
		got, err := applier.Apply(t.Context(), to, obj)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([]any{got, *applies}).To(Equal([]any{want, total}))
		g.Expect(obj.GetUID()).To(Equal(live(t, to).UID))
		g.Expect(obj.GetObjectKind().GroupVersionKind().Kind).To(Equal("Service"))
	}
	expect(service(5000), apply.Created, 1)
	expect(service(5000), apply.Unchanged, 1)
	expect(service(5001), apply.Changed, 2)
	expect(service(5001), apply.Unchanged, 2)

	drifted := live(t, to)
	drifted.Spec.Ports[0].Port = 1
	g.Expect(to.Client.Update(t.Context(), drifted)).To(Succeed())
	expect(service(5001), apply.Changed, 3)
	g.Expect(live(t, to).Spec.Ports).To(ContainElement(HaveField("Port", int32(5001))))
	expect(service(5001), apply.Unchanged, 3)

	applier.Forget(client.ObjectKey{Name: "other"})
	expect(service(5001), apply.Unchanged, 3)
	applier.Forget(to.Cluster)
	_, err := applier.Apply(t.Context(), to, service(5001))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*applies).To(Equal(4))
}

func live(t *testing.T, to apply.Target) *corev1.Service {
	t.Helper()
	s := &corev1.Service{}
	NewWithT(t).Expect(to.Client.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: "s"}, s)).To(Succeed())
	return s
}

func TestApplyDoesNotTouchAnObjectThatIsNotOurs(t *testing.T) {
	g := NewWithT(t)
	foreign := service(80)
	foreign.Labels = nil
	to, applies := target(foreign)
	// A cache that holds only our objects does not know it.
	to.Client = blind{to.Client}
	_, err := apply.New().Apply(t.Context(), to, service(5000))
	g.Expect(err).To(MatchError(apply.ErrForeign))
	g.Expect(*applies).To(BeZero())
}

// blind finds nothing.
type blind struct{ client.Client }

func (b blind) Get(ctx context.Context, _ client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return b.Client.Get(ctx, client.ObjectKey{Namespace: "ns", Name: "not-there"}, obj, opts...)
}

func TestPruneRemovesWhatIsNotWantedAnyMoreAndIsOurs(t *testing.T) {
	g := NewWithT(t)
	named := func(name string, change func(*corev1.Secret)) *corev1.Secret {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: ours}}
		change(secret)
		return secret
	}
	to, _ := target(
		named("unwanted", func(*corev1.Secret) {}),
		named("wanted", func(*corev1.Secret) {}),
		named("foreign", func(s *corev1.Secret) { s.Labels = nil }),
		named("elsewhere", func(s *corev1.Secret) { s.Namespace = "other" }),
		named("going", func(s *corev1.Secret) {
			s.Finalizers = []string{"test.example.com/keep"}
			s.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time}
		}),
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "set", Labels: ours}},
	)
	objects, err := apply.List(t.Context(), to.Client, to.Ours, "ns", []client.ObjectList{&corev1.SecretList{}, &appsv1.StatefulSetList{}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(4))
	stray := named("foreign", func(s *corev1.Secret) { s.Labels = nil })
	pruned, err := apply.Prune(t.Context(), to, append(objects, stray), func(obj client.Object) bool { return obj.GetName() == "wanted" })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pruned).To(ConsistOf(HaveField("Name", "unwanted"), HaveField("Name", "set")))
	secrets := &corev1.SecretList{}
	g.Expect(to.Client.List(t.Context(), secrets)).To(Succeed())
	g.Expect(secrets.Items).To(ConsistOf(HaveField("Name", "wanted"), HaveField("Name", "foreign"), HaveField("Name", "elsewhere"), HaveField("Name", "going")))
}

func TestPruneSparesAnObjectThatTookTheNameOfAnother(t *testing.T) {
	g := NewWithT(t)
	to, _ := target(service(5000))
	stale := live(t, to)
	stale.UID = "of-another"
	_, err := apply.Prune(t.Context(), to, []client.Object{stale}, func(client.Object) bool { return false })
	g.Expect(err).NotTo(HaveOccurred())
}
