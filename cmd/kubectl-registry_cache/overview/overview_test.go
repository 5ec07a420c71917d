package overview

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
)

const object = `
metadata: {namespace: team, name: c}
spec:
  caches: [{upstream: docker.io}, {upstream: quay.io}]
  mirrors: [{upstream: quay.io, hosts: [{host: "https://m.example"}]}, {upstream: ghcr.io, hosts: [{host: "https://m.example"}]}]
status:
  caches: [{upstream: docker.io, readyReplicas: 1, inUse: InUse}, {upstream: quay.io, readyReplicas: 0, inUse: NotUsed}, {upstream: old.io, readyReplicas: 1}]
  nodes: {total: 3, configured: 2}
  somethingNewer: true
`

func rowOf(t *testing.T, text string) Row {
	t.Helper()
	u := unstructured.Unstructured{}
	g := NewWithT(t)
	g.Expect(yaml.Unmarshal([]byte(text), &u.Object)).To(Succeed())
	r, err := row(u)
	g.Expect(err).NotTo(HaveOccurred())
	return r
}

func TestARowCounts(t *testing.T) {
	g := NewWithT(t)
	r := rowOf(t, object)
	r.cache = nil
	g.Expect(r).To(Equal(Row{
		Namespace: "team", Name: "c", Ready: "Unknown", Upstreams: []string{"docker.io", "quay.io", "ghcr.io"}, Caches: 2, CachesReady: 1,
		Nodes: new(int32(3)), NodesConfigured: new(int32(2)), InUse: new(1), InUseKnown: new(2), Message: "no manager has looked at it",
	}))
}

func TestARowTellsTheFirstThatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ conditions, ready, condition, message string }{
		"nothing is wrong":                {"[{type: Ready, status: 'True'}, {type: Paused, status: 'False'}]", "True", "", ""},
		"False comes before Unknown":      {"[{type: Ready, status: 'False'}, {type: A, status: Unknown, message: a}, {type: B, status: 'False', message: b}]", "False", "B", "b"},
		"Unknown that keeps from ready":   {"[{type: Ready, status: Unknown}, {type: A, status: Unknown, message: a}]", "Unknown", "A", "a"},
		"Unknown that does not matter":    {"[{type: Ready, status: 'True'}, {type: CredentialsValid, status: Unknown, message: a}]", "True", "", ""},
		"False that is no part of Ready":  {"[{type: Ready, status: 'True'}, {type: VariableApplied, status: 'False', message: v}]", "True", "VariableApplied", "v"},
		"Ready itself is told by another": {"[{type: Ready, status: 'False', message: summary}, {type: A, status: 'False', message: a}]", "False", "A", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(t, "metadata: {name: c}\nstatus: {conditions: "+tc.conditions+"}")
			NewWithT(t).Expect([]string{r.Ready, r.Condition, r.Message}).To(Equal([]string{tc.ready, tc.condition, tc.message}))
		})
	}
}

type fakePods struct{}

func (fakePods) Get(_ context.Context, pod client.ObjectKey, _ int, _ string) ([]byte, error) {
	if pod.Name == "registry-quay-io-0" {
		return nil, errors.New("gone")
	}
	return []byte("registry_proxy_pushed_bytes_total 100\nregistry_proxy_pulled_bytes_total 40\nregistry_proxy_requests_total 10\nregistry_proxy_hits_total 9\n"), nil
}

func (fakePods) Certificates(context.Context, client.ObjectKey, int) ([]*x509.Certificate, error) {
	return nil, errors.New("not asked for")
}

// answering is an API server that answers; silent is one that does not.
type answering struct{ client.Client }

func (answering) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

type silent struct{ client.Client }

func (silent) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("no route")
}

func TestCountAsksNoPodOfAClusterThatDoesNotAnswer(t *testing.T) {
	g := NewWithT(t)
	rows := []Row{rowOf(t, object)}
	errs := Count(t.Context(), rows, func(context.Context, client.ObjectKey) (*reach.Workload, error) {
		return &reach.Workload{Client: silent{}}, nil // asking its Pods would panic
	}, func(int) {})
	g.Expect(errs).To(ConsistOf(MatchError(ContainSubstring("team/c: no route"))))
	g.Expect(rows[0].SavedBytes).To(BeNil())
}

func TestCountGoesOnWithoutWhatCannotBeReached(t *testing.T) {
	g := NewWithT(t)
	rows := []Row{rowOf(t, object), rowOf(t, object), rowOf(t, "metadata: {name: mirrors-only}")}
	rows[1].Name = "unreachable"
	connect := func(_ context.Context, cluster client.ObjectKey) (*reach.Workload, error) {
		if cluster.Name == "unreachable" {
			return nil, errors.New("no way")
		}
		return &reach.Workload{Client: answering{}, Pods: fakePods{}}, nil
	}
	var progress []int
	errs := Count(t.Context(), rows, connect, func(done int) { progress = append(progress, done) })
	g.Expect(errs).To(ConsistOf(MatchError(ContainSubstring("team/unreachable: no way")), MatchError(ContainSubstring("registry-quay-io-0 for its counters: gone"))))
	g.Expect(progress).To(Equal([]int{1, 2, 3}))
	g.Expect(rows[0].SavedBytes).To(HaveValue(BeEquivalentTo(60)))
	g.Expect(rows[0].HitRatio).To(HaveValue(BeNumerically("~", 0.9)))
	g.Expect(rows[1].SavedBytes).To(BeNil())
	g.Expect(rows[2].SavedBytes).To(BeNil())
}
