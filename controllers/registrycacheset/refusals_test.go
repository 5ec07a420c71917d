package registrycacheset

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

var errPolicy = apierrors.NewForbidden(schema.GroupResource{Resource: "registrycaches"}, "a", errors.New("the policy of the company"))

// refusing is a namespace with the Clusters a and b and their RegistryCaches of a set, and an API server with a policy against writing
// the RegistryCache of a. A real one refuses in the same way; TestRegistryCacheSets has rejections by its rules.
func refusing(t *testing.T) (*Reconciler, *scope, client.Client) {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(clusterv1.AddToScheme(scheme)).To(Succeed())
	g.Expect(addonsv1.AddToScheme(scheme)).To(Succeed())
	s := &scope{set: &addonsv1.RegistryCacheSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "all", UID: "1"}}, now: time.Now()}
	objects := []client.Object{s.set.DeepCopy()}
	for _, name := range []string{"a", "b"} {
		cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
		objects = append(objects, cluster, s.desired(cluster, nil))
	}
	there := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if obj.GetName() == "a" {
				return errPolicy
			}
			return c.Delete(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if obj.GetName() == "a" {
				return errPolicy
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
	}).Build()
	return &Reconciler{Client: there, APIReader: there, Recorder: events.NewFakeRecorder(10), refusals: newRefusals()}, s, there
}

func TestARegistryCacheThatCannotBeRemovedKeepsNoOtherFromGoing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*addonsv1.RegistryCacheSet)
		phase  func(*Reconciler) phase
	}{
		"two that are not selected any more": {func(set *addonsv1.RegistryCacheSet) {
			set.Spec.ClusterSelector.MatchLabels = map[string]string{"other": "label"}
		}, func(r *Reconciler) phase { return r.removeCaches }},
		"two of a set that is removed": {func(set *addonsv1.RegistryCacheSet) {
			set.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}, func(r *Reconciler) phase { return r.removeAll }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, s, there := refusing(t)
			tc.change(s.set)
			_, s.err = run(t.Context(), s, r.lookAround, tc.phase(r))
			g.Expect(s.err).To(MatchError(ContainSubstring("the policy of the company")))
			left := &addonsv1.RegistryCacheList{}
			g.Expect(there.List(t.Context(), left)).To(Succeed())
			g.Expect(left.Items).To(ConsistOf(HaveField("Name", "a")))
			setStatus(s)
			g.Expect(appliedMessage(s.set)).To(ContainSubstring("Cluster a: its RegistryCache cannot be removed: registrycaches \"a\" is forbidden: the policy of the company"))
		})
	}
}

func TestWhatIsRefusedIsTriedAgainAfterAWhile(t *testing.T) {
	g := NewWithT(t)
	r, s, there := refusing(t)
	s.set.Spec.Template.Spec.Caches = []addonsv1.Cache{{Upstream: "docker.io"}}
	for _, step := range []struct{ after, want time.Duration }{{0, retryAfter}, {4 * time.Minute, 6 * time.Minute}, {retryAfter, retryAfter}, {retryAfter + 1, retryAfter - 1}} {
		now := &scope{set: s.set, now: s.now.Add(step.after)}
		result, err := run(t.Context(), now, r.lookAround, r.applyCaches)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result).To(Equal(ctrl.Result{RequeueAfter: step.want}))
	}
	b := &addonsv1.RegistryCache{}
	g.Expect(there.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: "b"}, b)).To(Succeed())
	g.Expect(b.Spec).To(Equal(s.set.Spec.Template.Spec))
}

func TestATextIsCutToTheBytesThatThereAreAndStaysUTF8(t *testing.T) {
	g := NewWithT(t)
	g.Expect(cut("short", 5)).To(Equal("short"))
	for length := 9; length < 14; length++ {
		text := cut(strings.Repeat("ä", 100), length)
		g.Expect(len(text)).To(And(BeNumerically("<=", length), BeNumerically(">=", length-1)))
		g.Expect(utf8.ValidString(text)).To(BeTrue())
		g.Expect(text).To(HaveSuffix("ä …"))
	}
}
